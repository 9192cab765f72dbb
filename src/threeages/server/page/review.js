// The label review: one suspect after another, decided by key. What counts is in the corrections file alone.

import { byId, fillProbs, request, send, switchTheme } from "./shared.js";

const REASONS = {
  duplicate: "The same picture has another label elsewhere in the data.",
  probabilities: "A model that was not trained on this person says otherwise.",
};

let review = null; // the answer of /v1/review: the suspects, those open and what was decided
let current = null; // number of the suspect that is shown; null at the end
let busy = false;
const shown = []; // numbers in the order they were decided here, for Back
const images = new Map(); // addresses of images by row: what is shown, and what comes next

// ---- the service ----

async function load() {
  try {
    review = await request("v1/review");
  } catch (error) {
    handle(error);
    return;
  }
  byId("groups").replaceChildren(...review.groups.map(createChoice));
  byId("file").textContent = `Decisions of ${review.reviewer} go to ${review.file} on this computer.`;
  show(review.open[0] ?? null);
}

async function decide(label) {
  if (busy || current === null) return;
  busy = true;
  const number = current;
  const body = JSON.stringify({ number, label });
  try {
    const progress = await request("v1/decisions", { method: "POST", body, headers: { "Content-Type": "application/json" } });
    Object.assign(review, progress);
    shown.push(number);
    showError("");
    show(nextAfter(number));
  } catch (error) {
    handle(error);
  } finally {
    busy = false;
  }
}

// The next open suspect in the file's order; what was skipped comes at the end, and not twice in a row.
function nextAfter(number) {
  const fresh = review.open.filter((other) => !(other in review.decided));
  const later = fresh.find((other) => other > number) ?? fresh[0];
  return later ?? review.open.find((other) => !shown.includes(other)) ?? null;
}

function handle(error) {
  if (error.status === 401) byId("key-dialog").showModal();
  else showError(error.status ? error.message : "The review cannot be reached: is its command still running?");
}

function imageOf(row) {
  if (!images.has(row)) {
    images.set(row, send(`v1/images/${row}`).then((reply) => reply.blob()).then((blob) => URL.createObjectURL(blob)));
  }
  return images.get(row);
}

function forgetImages(needed) {
  for (const [row, address] of images) {
    if (needed.has(row)) continue;
    images.delete(row);
    address.then((url) => URL.revokeObjectURL(url), () => {});
  }
}

// ---- what is shown ----

function show(number) {
  current = number;
  showProgress();
  byId("suspect").hidden = number === null;
  byId("done").hidden = number !== null;
  byId("copies").hidden = true;
  if (number === null) {
    showEnd();
    return;
  }
  const item = review.items[number];
  const next = review.items[nextAfter(number) ?? number];
  forgetImages(new Set([item, next].flatMap((one) => [one.row, ...one.others.map((copy) => copy.row)])));
  byId("path").textContent = item.path;
  byId("label").textContent = item.label;
  byId("label").className = `group ${item.label.toLowerCase()}`;
  byId("reason").textContent = REASONS[item.reason];
  showEarlier(number);
  showProbs(item);
  showImage(byId("image"), item.row, `Face to review, labelled ${item.label}`, () => current === number);
  showCopies(item, number);
  imageOf(next.row).catch(() => {});
}

function showEarlier(number) {
  const earlier = review.decided[number];
  byId("earlier").hidden = earlier === undefined;
  byId("earlier").textContent = earlier ? `Decided before: ${earlier}. Another decision replaces it.` : "Skipped before.";
  for (const button of byId("groups").children) button.setAttribute("aria-pressed", String(button.value === earlier));
}

function showProbs({ probs }) {
  const list = byId("probs");
  list.replaceChildren();
  if (!probs) return;
  const likeliest = Object.keys(probs).reduce((a, b) => (probs[b] > probs[a] ? b : a));
  fillProbs(list, probs, likeliest);
}

async function showImage(image, row, alt, wanted) {
  image.removeAttribute("src");
  image.alt = alt;
  try {
    const address = await imageOf(row);
    if (wanted()) image.src = address;
  } catch (error) {
    images.delete(row);
    if (wanted()) handle(error);
  }
}

function showCopies(item, number) {
  byId("copies").hidden = !item.others.length;
  byId("gallery").replaceChildren(...item.others.map((copy) => createCopy(copy, number)));
}

function createCopy({ row, path, label }, number) {
  const entry = document.createElement("li");
  entry.className = `photo ${(label ?? "").toLowerCase()}`;
  const frame = Object.assign(document.createElement("div"), { className: "frame" });
  const image = document.createElement("img");
  frame.append(image);
  const text = Object.assign(document.createElement("div"), { className: "answer" });
  const name = Object.assign(document.createElement("h3"), { textContent: path });
  text.append(Object.assign(document.createElement("strong"), { className: "group", textContent: label ?? "no label" }), name);
  entry.append(frame, text);
  showImage(image, row, `Copy labelled ${label ?? "nothing"}`, () => current === number);
  return entry;
}

function createChoice(group, i) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", value: group, className: `choice ${group.toLowerCase()}` });
  button.append(group, Object.assign(document.createElement("kbd"), { textContent: String(i + 1) }));
  button.addEventListener("click", () => decide(group));
  return button;
}

// What was skipped is not decided: it is asked again in the next review.
function countDecisions() {
  const firm = Object.entries(review.decided).filter(([, label]) => label);
  const corrected = firm.filter(([number, label]) => label !== review.items[number].label).length;
  return { decided: firm.length, corrected, skipped: Object.keys(review.decided).length - firm.length };
}

function showProgress() {
  const total = review.items.length;
  const { decided, corrected, skipped } = countDecisions();
  byId("progress").max = Math.max(total, 1);
  byId("progress").value = decided;
  byId("place").textContent = current === null ? `${total} labels` : `Label ${current + 1} of ${total}`;
  byId("status").textContent = `${decided} decided: ${corrected} corrected, ${decided - corrected} accepted; ${skipped} skipped`;
  byId("back").disabled = !shown.length;
  byId("again").hidden = !shown.length;
}

function showEnd() {
  const { decided, skipped } = countDecisions();
  byId("done-title").textContent = skipped ? "All labels were shown" : "Nothing is left to look at";
  byId("done-text").textContent = [
    skipped ? `${skipped} skipped: the same command asks about them again.` : "",
    decided ? `Apply the decisions with: threeages data merge MANIFEST --corrections ${review.file} --out NEW.csv` : "",
    review.items.length ? "" : "No label is a suspect.",
  ].filter(Boolean).join(" ");
  byId("done").focus();
}

function showError(text) {
  byId("error").textContent = text;
  byId("error").hidden = !text;
}

function goBack() {
  if (!busy && shown.length) show(shown.pop());
}

function setBlind() {
  document.body.classList.toggle("blind", byId("hide").checked);
}

// ---- keys ----

function pressKey(event) {
  if (!review || event.ctrlKey || event.metaKey || event.altKey || event.repeat || byId("key-dialog").open) return;
  const onControl = event.target.closest?.("button, input");
  const group = review.groups[Number(event.key) - 1];
  const key = event.key.toLowerCase();
  if (group) decide(group);
  else if (key === "s") decide("");
  else if (key === "b" || key === "backspace") goBack();
  else if (key === "a" || (key === "enter" && !onControl)) decide(review.items[current]?.label);
  else if (key === "h") { byId("hide").checked = !byId("hide").checked; setBlind(); }
  else return;
  event.preventDefault();
}

byId("theme").addEventListener("click", switchTheme);
byId("hide").addEventListener("change", setBlind);
byId("accept").addEventListener("click", () => decide(review.items[current]?.label));
byId("skip").addEventListener("click", () => decide(""));
byId("back").addEventListener("click", goBack);
byId("again").addEventListener("click", goBack);
byId("key-dialog").addEventListener("close", () => {
  if (byId("key").value) sessionStorage.setItem("key", byId("key").value);
  byId("key").value = "";
  load();
});
addEventListener("keydown", pressKey);
setBlind(); // a reload keeps the switch
load();
