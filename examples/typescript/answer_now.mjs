/**
 * Enter stops the thinking and requests the answer; Ctrl-C ends the program.
 * After ten seconds an AbortSignal ends the session.
 *
 *   (cd clients/typescript && npm ci && npm run build) && npm install --prefix examples/typescript
 *   node examples/typescript/answer_now.mjs ["a question"]
 */

import { stdin, stdout } from "node:process";
import { createInterface } from "node:readline";
import { Client, ClientError } from "anytime-client";

const QUESTION = "What is the last digit of 3 minus 3 plus 1 plus 4 times 7, left to right?";
const TIMEOUT_MS = 10_000;

const { ANYTIME_URL = "http://127.0.0.1:8000" } = process.env;
const client = new Client(ANYTIME_URL);
const question = process.argv[2] ?? QUESTION;
const stream = client.think(question, { signal: AbortSignal.timeout(TIMEOUT_MS) });

const keyboard = createInterface({ input: stdin });

console.log(`${question}\n(Enter: answer now)`);
try {
  for await (const event of stream) {
    switch (event.type) {
      case "started":
        keyboard.on("line", () => stream.answerNow().catch((error) => console.error(`\n${error.message}`)));
        break;
      case "thinking":
        stdout.write(event.text);
        break;
      case "answer.started":
        stdout.write(`\n[stopped by: ${event.cause}]\n`);
        break;
      case "answer.delta":
        stdout.write(event.text);
        break;
      case "done":
        stdout.write(`\n[${event.usage.thinking_tokens} thinking tokens]\n`);
    }
  }
} catch (error) {
  const isTimeout = error instanceof DOMException && error.name === "TimeoutError";
  if (!isTimeout && !(error instanceof ClientError)) throw error;
  console.error(isTimeout ? `\nno answer within ${TIMEOUT_MS / 1000} s` : `\n${error.message}`);
  process.exitCode = 1;
} finally {
  keyboard.close();
}
