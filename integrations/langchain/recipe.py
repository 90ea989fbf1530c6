"""LangChain: chat, send back what the user made of the answer, see what was learned.

python recipe.py http://127.0.0.1:8000 maria
"""

import json
import sys
import time

import httpx
from langchain_openai import ChatOpenAI

base, user = sys.argv[1:3]
headers = {"X-User-Id": user}
attune = httpx.Client(base_url=f"{base}/v1", headers=headers, timeout=60)
model = attune.get("/models").json()["data"][0]["id"]
chat = ChatOpenAI(
    model=model, base_url=f"{base}/v1", api_key="none", default_headers=headers, temperature=0, max_tokens=200
)


def request(name: str) -> str:
    return f"Write an email to {name}, my client.\nNotes:\nabout: the launch\nwhat: the invoice is late"


answer = chat.invoke(request("Anna"))
draft = str(answer.content)

# What the user really sent: here a program stands in for them.
sent = draft.replace("📌 ", "").replace("Hello Anna,", "Dear Anna,").replace("\nRegards", "\nBest wishes")
sent = sent.replace("Best regards,\n[Your Name]", "Best wishes,\nMaria")
edit = {"type": "edit", "completion_id": answer.response_metadata["id"], "edited_text": sent}
id = attune.post("/feedback", json=edit).raise_for_status().json()["id"]

while (told := attune.get(f"/feedback/{id}").json())["status"] == "pending":
    time.sleep(0.5)
learned = [one["text"] for one in attune.get(f"/users/{user}/preferences").json()["data"]]

print(
    json.dumps(
        {"draft": draft, "status": told["status"], "learned": learned, "next": chat.invoke(request("Walter")).content}
    )
)
