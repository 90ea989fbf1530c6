{{- define "attune.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "attune.labels" -}}
app.kubernetes.io/name: attune
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "attune.selector" -}}
app.kubernetes.io/name: attune
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "attune.image" -}}
{{- $repository := required "image.repository is needed: where you pushed the image that `make image` built." .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "attune.secret" -}}
{{- required "secret.name is needed: a Secret with ATTUNE_DATABASE_URL, made by `kubectl create secret generic`." .Values.secret.name -}}
{{- end -}}

{{- define "attune.environment" -}}
envFrom:
  - configMapRef:
      name: {{ include "attune.name" . }}
  - secretRef:
      name: {{ include "attune.secret" . }}
{{- end -}}

{{- define "attune.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "attune.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "attune.mounts" -}}
volumeMounts:
  - name: data
    mountPath: /data
  - name: tmp
    mountPath: /tmp
{{- end -}}

{{- define "attune.volumes" -}}
volumes:
  - name: data
    {{- if .Values.dataVolume }}
    {{- toYaml .Values.dataVolume | nindent 4 }}
    {{- else }}
    emptyDir:
      sizeLimit: {{ .Values.server.dataSize }}
    {{- end }}
  - name: tmp
    emptyDir: {}
{{- end -}}

{{- define "attune.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
