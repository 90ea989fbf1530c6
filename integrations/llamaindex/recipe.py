"""LlamaIndex: chat, send back what the user made of the answer, see what was learned.

python recipe.py http://127.0.0.1:8000 maria
"""

import json
import sys
import time

import httpx
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.llms.openai_like import OpenAILike

base, user = sys.argv[1:3]
headers = {"X-User-Id": user}
attune = httpx.Client(base_url=f"{base}/v1", headers=headers, timeout=60)
llm = OpenAILike(
    model=attune.get("/models").json()["data"][0]["id"],
    api_base=f"{base}/v1",
    api_key="none",
    default_headers=headers,
    is_chat_model=True,
    temperature=0,
    max_tokens=200,
)


def ask(name: str) -> ChatResponse:
    request = f"Write an email to {name}, my client.\nNotes:\nabout: the launch\nwhat: the invoice is late"
    return llm.chat([ChatMessage(role="user", content=request)])


answer = ask("Anna")
draft = answer.message.content or ""

# What the user really sent: here a program stands in for them.
sent = draft.replace("📌 ", "").replace("Hello Anna,", "Dear Anna,").replace("\nRegards", "\nBest wishes")
sent = sent.replace("Best regards,\n[Your Name]", "Best wishes,\nMaria")
edit = {"type": "edit", "completion_id": answer.raw.id, "edited_text": sent}
id = attune.post("/feedback", json=edit).raise_for_status().json()["id"]

while (told := attune.get(f"/feedback/{id}").json())["status"] == "pending":
    time.sleep(0.5)
learned = [one["text"] for one in attune.get(f"/users/{user}/preferences").json()["data"]]

print(json.dumps({"draft": draft, "status": told["status"], "learned": learned, "next": ask("Walter").message.content}))
