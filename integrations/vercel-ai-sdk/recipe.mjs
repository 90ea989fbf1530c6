// Vercel AI SDK: chat, send back what the user made of the answer, see what was learned.
// node recipe.mjs http://127.0.0.1:8000 maria
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const [base, user] = process.argv.slice(2);
const headers = { "X-User-Id": user };
const attune = createOpenAICompatible({ name: "attune", baseURL: `${base}/v1`, apiKey: "none", headers });
const request = (name) => `Write an email to ${name}, my client.\nNotes:\nabout: the launch\nwhat: the invoice is late`;

async function call(path, body) {
  const method = body ? "POST" : "GET";
  const more = { method, headers: { ...headers, "Content-Type": "application/json" }, body: body && JSON.stringify(body) };
  const answer = await fetch(`${base}/v1${path}`, more);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const model = attune((await call("/models")).data[0].id);
const settings = { model, temperature: 0, maxOutputTokens: 200 };
const { text: draft, response } = await generateText({ ...settings, prompt: request("Anna") });

// What the user really sent: here a program stands in for them.
const sent = draft.replace("📌 ", "").replace("Hello Anna,", "Dear Anna,").replace("\nRegards", "\nBest wishes")
  .replace("Best regards,\n[Your Name]", "Best wishes,\nMaria");
const { id } = await call("/feedback", { type: "edit", completion_id: response.id, edited_text: sent });

let told;
while ((told = await call(`/feedback/${id}`)).status === "pending") await new Promise((done) => setTimeout(done, 500));
const learned = (await call(`/users/${encodeURIComponent(user)}/preferences`)).data.map((one) => one.text);

let next = "";
for await (const piece of streamText({ ...settings, prompt: request("Walter") }).textStream) next += piece;
console.log(JSON.stringify({ draft, status: told.status, learned, next }));
