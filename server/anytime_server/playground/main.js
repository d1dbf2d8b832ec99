/** The page: brings form, run, curve and code together, and waits for the server to be ready. */

import { Client, RequestRefused } from "./anytime-client.js";
import { follow } from "./code.js";
import { Curve } from "./curve.js";
import { Form, number } from "./form.js";
import { Run } from "./run.js";
import { View } from "./view.js";

const at = (id) => document.getElementById(id);
const base = new URL(".", location.href).href;
const client = new Client(base);
const view = new View();
const run = new Run(client, view);
const form = new Form(changed);

function changed() {
  follow({ url: base.replace(/\/$/, ""), question: form.question, options: form.options });
  view.preview(shape());
}

function shape() {
  return { budget: form.budget, scale: form.scale, planned: form.budgets };
}

async function ask(begin) {
  if (run.going || at("ask").disabled || !form.check()) return;
  at("ask").disabled = true;
  const error = await begin();
  at("ask").disabled = false;
  if (error instanceof RequestRefused && error.field) {
    if (form.fault(error.field, error.message.replace(`${error.field}: `, ""))) at("notice").hidden = true;
    return;
  }
  if (lost()) (at("continue").hidden ? at("ask") : at("continue")).focus({ preventScroll: true });
  if (error && (!(error instanceof RequestRefused) || error.status === 503)) await ready();
}

/** The button that had the focus is disabled by now. */
function lost() {
  return document.activeElement === document.body || document.activeElement.disabled;
}

function once() {
  return ask(() => {
    history.replaceState(null, "", `#${form.link}`);
    return run.ask({ question: form.question, options: form.options, shape: shape() });
  });
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  once();
});
at("again").addEventListener("click", once);
at("continue").addEventListener("click", () => ask(() => run.resume({ options: form.options, shape: shape() })));
at("answer-now").addEventListener("click", () => control(() => run.answerNow()));
at("extend").addEventListener("click", () => control(() => run.extend(number("step"))));
at("stop").addEventListener("click", () => control(() => run.stop()));

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && run.going) control(() => run.stop());
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    once();
  }
});

/** A control may come too late: the run has moved on, and its own events tell how. */
async function control(act) {
  try {
    await act();
  } catch (error) {
    if (run.going) at("status").textContent = error.message;
  }
}

/** Wait until the server takes requests; say meanwhile what it is doing. */
async function ready() {
  at("ask").disabled = true;
  for (;;) {
    const reason = await notReadyBecause();
    at("readiness").textContent = reason ?? "ready";
    at("readiness").dataset.ready = String(reason === null);
    if (reason === null) break;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  at("ask").disabled = run.going;
}

async function notReadyBecause() {
  try {
    const response = await fetch("ready");
    return response.ok ? null : (await response.json()).reason;
  } catch {
    return "no server answers";
  }
}

if (/Mac|iPhone|iPad/.test(navigator.userAgent)) at("modifier").textContent = "⌘";
changed();
await ready();
const [card] = await client.models();
at("model").textContent = card.id;
if (card.anytime.accuracy_curve.length) {
  view.curve = new Curve(at("curve"), at("reading"), at("measured"), card.anytime.accuracy_curve);
  at("curve-panel").hidden = false;
}
form.configure(card);
form.link = location.hash.slice(1);
