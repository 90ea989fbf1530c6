// What an app with OpenAI's Node client does; prints what it saw as JSON. Usage: node client.mjs BASE_URL USER
import OpenAI, { BadRequestError } from "openai";

const [base, user] = process.argv.slice(2);
const client = new OpenAI({
  baseURL: `${base}/v1`,
  apiKey: "none",
  maxRetries: 0,
  defaultHeaders: { "X-User-Id": user },
});
const messages = [{ role: "user", content: "Write an email to Anna, my client.\nNotes:\nabout: the launch" }];
const settings = { model: "attune-tiny", temperature: 0 };

const whole = await client.chat.completions.create({ ...settings, messages, max_tokens: 24 });

let streamed = "";
let attune = null;
for await (const chunk of await client.chat.completions.create({ ...settings, messages, max_tokens: 24, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  attune = chunk.attune ?? attune;
}

const response = await client.responses.create({ ...settings, input: messages[0].content, max_output_tokens: 24 });

let refused = null;
try {
  await client.chat.completions.create({ ...settings, messages, chat_template: "x" });
} catch (error) {
  refused = error instanceof BadRequestError ? { param: error.param, type: error.type } : String(error);
}

console.log(
  JSON.stringify({
    whole: whole.choices[0].message.content,
    personalized: whole.attune.personalized,
    streamed,
    streamedPersonalized: attune?.personalized,
    response: response.output_text,
    refused,
  }),
);
