/** Entry point of the page: connects form, run, curve and code, and waits until the server is ready. */

import { Client, RequestRefused } from "./anytime-client.js";
import { showCode } from "./code.js";
import { Curve } from "./curve.js";
import { showFieldError } from "./field-errors.js";
import { Form, number } from "./form.js";
import { Key } from "./key.js";
import { element } from "./page.js";
import { Run } from "./run.js";
import { View } from "./view.js";

const base = new URL(".", location.href).href;
const key = new Key(onChange);
/** Without retries: the page shows the error, and waits where that helps. */
const connect = () => new Client(base, { apiKey: key.value, maxRetries: 0 });
const view = new View();
const run = new Run(connect, view);
const form = new Form(onChange);

function onChange() {
  const { question, options } = form;
  showCode({ url: base.replace(/\/$/, ""), keyRequired: key.required, question, options });
  view.preview(plan());
}

/** The part of the form that the view needs. */
function plan() {
  return { budget: form.budget, scale: form.scale, planned: form.budgets };
}

/** The last action, `ask` or `resume`, for "Ask again". */
let lastAction = ask;

async function perform(action) {
  if (run.isActive || element("ask").disabled || !form.validate()) return;
  lastAction = action;
  element("ask").disabled = true;
  const error = await action();
  element("ask").disabled = false;
  if (error instanceof RequestRefused && error.field) {
    if (showFieldError(error.field, error.message.replace(`${error.field}: `, ""))) element("notice").hidden = true;
    return;
  }
  if (isFocusLost()) element("status").focus({ preventScroll: true });
  if (error && (!(error instanceof RequestRefused) || [401, 403, 503].includes(error.status))) await waitUntilReady();
}

/** Whether the button that had the focus is disabled by now. */
function isFocusLost() {
  return document.activeElement === document.body || document.activeElement.disabled;
}

function ask() {
  history.replaceState(null, "", `#${form.link}`);
  return run.ask({ question: form.question, options: form.options, plan: plan() });
}

function resume() {
  return run.resume({ options: form.options, plan: plan() });
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  perform(ask);
});
element("again").addEventListener("click", () => perform(lastAction));
element("continue").addEventListener("click", () => perform(resume));
element("answer-now").addEventListener("click", () => control(() => run.answerNow()));
element("extend").addEventListener("click", () => control(() => run.extend(number("step"))));
element("stop").addEventListener("click", () => control(() => run.stop()));

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && run.isActive) control(() => run.stop());
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    perform(ask);
  }
});

/** Run a control. Its error matters only while the run is active: the run's own events show how it ended. */
async function control(action) {
  try {
    await action();
  } catch (error) {
    if (run.isActive) element("status").textContent = error.message;
  }
}

/** Wait until the server is ready, and set up the page for its model, which may have changed. */
async function waitUntilReady() {
  element("ask").disabled = true;
  let card = await findModel();
  while (!card) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    card = await findModel();
  }
  key.hide();
  showModel(card);
  element("readiness").textContent = "ready";
  element("readiness").dataset.ready = "true";
  element("ask").disabled = false;
}

/** The card of the server's model; null, with the reason shown in the page, while the server is not ready. */
async function findModel() {
  let reason = "server unreachable";
  try {
    const response = await fetch("ready");
    if (response.ok) return (await connect().models())[0];
    reason = (await response.json()).reason ?? reason;
  } catch (error) {
    if ([401, 403].includes(error.status)) return findModelWithKey(error.message);
  }
  element("readiness").textContent = reason;
  element("readiness").dataset.ready = "false";
  return null;
}

/** Request an API key, and try again with it. */
async function findModelWithKey(refusal) {
  element("readiness").textContent = "API key required";
  element("readiness").dataset.ready = "false";
  await key.request(refusal);
  return findModel();
}

let shownModel = "";

/** Set up the page for a model. If it is the model shown already, the inputs keep their values. */
function showModel({ id, max_model_len, anytime }) {
  const model = JSON.stringify({ id, max_model_len, anytime });
  if (model === shownModel) return;
  shownModel = model;
  element("model").textContent = id;
  const points = anytime.accuracy_curve;
  view.curve = points.length ? new Curve(element("curve"), element("reading"), element("measured"), points) : null;
  element("curve-panel").hidden = !points.length;
  element("about").hidden = anytime.task?.kind !== "chain";
  form.configure({ max_model_len, anytime });
}

if (/Mac|iPhone|iPad/.test(navigator.userAgent)) element("modifier").textContent = "⌘";
onChange();
await waitUntilReady();
form.link = location.hash.slice(1);
