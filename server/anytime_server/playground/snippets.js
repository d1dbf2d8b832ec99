/** A request as source code that runs unchanged. Pure text: knows neither the page nor the network. */

// Characters that JSON allows unescaped, but that editors and terminals hide or treat as line ends.
const ESCAPED = /[\u007f-\u009f\u200b-\u200f\u2028-\u202f\u2060-\u2064\u2066-\u206f\ufeff]/g;

/** A value as JSON. It is also valid Python and TypeScript: requests of the form have no null, true or false. */
function literal(value) {
  return JSON.stringify(value).replace(
    ESCAPED,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A value as JSON on one line, with a space after each comma and colon. */
function line(value) {
  if (Array.isArray(value)) return `[${value.map(line).join(", ")}]`;
  if (value === null || typeof value !== "object") return literal(value);
  return `{${Object.entries(value)
    .map(([key, inner]) => `${literal(key)}: ${line(inner)}`)
    .join(", ")}}`;
}

function curl({ url, keyRequired, question, options }) {
  const body = { messages: [{ role: "user", content: question }], ...options };
  const fields = Object.entries(body).map(([key, value]) => `  ${literal(key)}: ${line(value)}`);
  const quoted = `{\n${fields.join(",\n")}\n}`.replaceAll("'", `'\\''`);
  const key = keyRequired ? ' -H "Authorization: Bearer $ANYTIME_API_KEY"' : "";
  return `curl -N ${url}/v1/anytime${key} -H 'Content-Type: application/json' -d '${quoted}'`;
}

function python({ url, keyRequired, question, options }) {
  const keywords = Object.entries(options).map(([key, value]) => `${key}=${line(value)}`);
  const key = keyRequired ? ', api_key=os.environ["ANYTIME_API_KEY"]' : "";
  return `${keyRequired ? "import os\n\n" : ""}from anytime_client import Client

with Client(${literal(url)}${key}) as client:
    with client.think(
        ${[literal(question), ...keywords].join(",\n        ")},
    ) as stream:
        for event in stream:
            if event.type == "thinking":
                print(event.text, end="", flush=True)
        print()
        print(stream.result().answer)`;
}

function typescript({ url, keyRequired, question, options }) {
  const fields = Object.entries(options).map(([key, value]) => `  ${key}: ${line(value)},\n`);
  const rest = fields.length ? `, {\n${fields.join("")}}` : "";
  const key = keyRequired ? ", { apiKey: process.env.ANYTIME_API_KEY }" : "";
  return `import { Client } from "anytime-client";

const client = new Client(${literal(url)}${key});
const stream = client.think(${literal(question)}${rest});
for await (const event of stream) {
  if (event.type === "thinking") process.stdout.write(event.text);
}
console.log("\\n" + (await stream.result()).answer);`;
}

/** For each tab, a function from `{url, keyRequired, question, options}` to source code. */
export const LANGUAGES = { curl, python, typescript };
