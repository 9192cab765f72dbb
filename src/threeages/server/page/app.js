// The page: photos in, answers out. It keeps nothing but what it shows.

import { byId, fillProbs, request, switchTheme } from "./shared.js";

const BODY_SHARE = 0.5; // of the largest body the service takes
const entries = []; // what the gallery shows: photos, and identities with their photos
const queue = []; // the entries that wait for an answer
let perRequest = 4; // photos; small enough that answers come one after another
let target = null; // the identity that gets the photos chosen next
let model = null; // the answer of /v1/model: limits, and the format of records
let loading = null;
let busy = false;

// ---- the service ----

// The answer of /v1/model, requested once.
function loadModel() {
  loading ??= request("v1/model").then(showModel).catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}

async function predict({ photos, identity }) {
  const form = new FormData();
  photos.forEach((photo, i) => form.append("images", photo.file, String(i)));
  const path = identity ? "v1/predict?together=true" : "v1/predict";
  const { records } = await request(path, { method: "POST", body: form });
  photos.forEach((photo, i) => {
    photo.records = records.filter((r) => r.path === String(i)).map((r) => ({ ...r, path: photo.file.name }));
  });
  if (identity) identity.record = records.at(-1);
}

// ---- the queue ----

function add(files, identity = null) {
  if (!files.length) return;
  const added = files.map((file) => ({ file, item: createItem(file), records: null }));
  if (identity || byId("together").checked) addToIdentity(added, identity ?? createIdentity());
  else {
    entries.push(...added);
    queue.push(...added);
    byId("gallery").append(...added.map((photo) => photo.item));
  }
  showError("");
  layOut();
  work();
}

function addToIdentity(added, identity) {
  identity.photos.push(...added);
  identity.item.querySelector(".gallery").append(...added.map((photo) => photo.item));
  if (!queue.includes(identity)) queue.push(identity);
  for (const photo of identity.photos) photo.records = null; // the new photos change the answer
  identity.record = null;
  showIdentity(identity);
}

function nextBatch() {
  if (queue[0].photos) {
    const identity = queue.shift();
    return { photos: [...identity.photos], identity };
  }
  const photos = [];
  let size = 0;
  const { max_images: maxImages, max_body: maxBody } = model.limits;
  const most = Math.min(perRequest, maxImages);
  while (queue[0]?.file && photos.length < most && (!photos.length || size + queue[0].file.size < maxBody * BODY_SHARE)) {
    size += queue[0].file.size;
    photos.push(queue.shift());
  }
  return { photos, identity: null };
}

// Refuses here what the service would refuse only after it has been sent.
function checkSize({ photos }) {
  const { max_images: maxImages, max_body: maxBody } = model.limits;
  const size = photos.reduce((sum, photo) => sum + photo.file.size, 0);
  const mib = (bytes) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  if (photos.length <= maxImages && size <= maxBody) return;
  const what = photos.length > 1 ? `${photos.length} photos of ${mib(size)}` : `A photo of ${mib(size)}`;
  const message = `${what} is more than this service takes in one request: ${maxImages} photos and ${mib(maxBody)}.`;
  throw Object.assign(new Error(message), { status: 413 });
}

async function work() {
  if (busy) return;
  busy = true;
  while (queue.length) {
    let batch = null;
    try {
      await loadModel();
      if (!queue.length) break; // cleared meanwhile
      batch = nextBatch();
      checkSize(batch);
      await predict(batch);
    } catch (error) {
      if (error.status === 401) {
        putBack(batch);
        askForKey();
        break;
      }
      if (error.status === 413 && batch?.photos.length > 1 && !batch.identity) { // a proxy may take less
        putBack(batch);
        perRequest = 1;
        continue;
      }
      fail(batch, error.status ? error.message : "The service cannot be reached.");
    }
    if (batch) showBatch(batch);
    showProgress();
  }
  busy = false;
}

function putBack(batch) {
  if (batch?.identity && !queue.includes(batch.identity)) queue.unshift(batch.identity);
  else if (batch && !batch.identity) queue.unshift(...batch.photos);
}

// A batch that failed; without one, all that wait.
function fail(batch, message) {
  const failed = batch ? [batch.identity ?? batch.photos].flat() : queue.splice(0);
  for (const entry of failed) {
    for (const photo of entry.photos ?? [entry]) photo.records = [{ path: photo.file.name, status: "failed", message }];
    if (entry.photos) entry.record = { path: "together", status: "failed", message };
    if (!batch) showBatch({ photos: entry.photos ?? [entry], identity: entry.photos ? entry : null });
  }
}

function showBatch({ photos, identity }) {
  if (identity && queue.includes(identity)) return; // it has got more photos meanwhile
  for (const photo of photos) showAnswer(photo);
  if (identity) showIdentity(identity);
}

// ---- several photos of one person ----

function createIdentity() {
  const item = byId("identity-template").content.firstElementChild.cloneNode(true);
  const identity = { item, photos: [], record: null };
  item.querySelector(".more").addEventListener("click", () => {
    target = identity;
    byId("files").click();
  });
  item.identity = identity; // so that a drop finds it
  entries.push(identity);
  byId("gallery").append(item);
  return identity;
}

function showIdentity({ item, photos, record }) {
  const count = photos.length;
  item.classList.toggle("waiting", !record);
  item.querySelector("h3").textContent = count === 1 ? "One person, 1 photo" : `One person, ${count} photos together`;
  for (const photo of photos) if (!photo.records) photo.item.classList.add("waiting");
  const faces = item.querySelector(".combined .faces");
  const reason = item.querySelector(".combined > .reason");
  faces.replaceChildren();
  reason.textContent = record && !record.probs ? explain(record) : "";
  reason.classList.toggle("bad", record?.status === "failed");
  if (record?.probs) faces.append(createSummary(record));
}

// ---- one photo ----

function createItem(file) {
  const item = byId("photo-template").content.firstElementChild.cloneNode(true);
  item.classList.add("waiting");
  item.querySelector("h3").textContent = file.name;
  const image = item.querySelector("img");
  image.alt = `Photo ${file.name}`;
  image.addEventListener("error", () => image.classList.add("broken"));
  image.src = URL.createObjectURL(file);
  return item;
}

function showAnswer(photo) {
  const { item, records } = photo;
  item.classList.remove("waiting");
  const faces = records.filter((r) => r.box);
  const reason = item.querySelector(".answer > .reason");
  reason.textContent = faces.length ? "" : explain(records[0]);
  reason.classList.toggle("bad", !faces.length && !rejectionReason(records[0]));
  const image = item.querySelector("img");
  const draw = () => drawBoxes(item, faces);
  if (image.complete && image.naturalWidth) draw();
  else image.addEventListener("load", draw, { once: true });
  photo.observer?.disconnect();
  photo.observer = new ResizeObserver(draw);
  photo.observer.observe(image);
  item.querySelector(".faces").replaceChildren(...faces.map((face, i) => createFace(photo, face, i, faces.length)));
}

const rejectionReason = (record) => model?.records.rejection_reasons[record.status];
const explain = (record) => rejectionReason(record) ?? record.message;
const title = (record) => record.age_group ?? "No answer";

function describeAge(record) {
  const parts = [];
  if (record.age != null) parts.push(`looks about ${Math.round(record.age)}`);
  if (record.age_low != null && record.age_high != null) {
    parts.push(`${Math.round(record.age_low)} to ${Math.round(record.age_high)} (90 % interval)`);
  }
  if (record.age_set?.length > 1) parts.push(record.age_set.join(" or "));
  return parts.join(", ");
}

// The answer of a record: age group, age and probabilities.
function createSummary(record) {
  const face = byId("face-template").content.firstElementChild.cloneNode(true);
  if (record.age_group) face.classList.add(record.age_group.toLowerCase());
  face.querySelector(".group").textContent = title(record);
  face.querySelector(".age").textContent = describeAge(record);
  face.querySelector(".reason").textContent = explain(record);
  if (record.probs) fillProbs(face.querySelector(".probs"), record.probs, record.age_group);
  return face;
}

function createFace(photo, record, i, count) {
  const face = createSummary(record);
  const number = face.querySelector(".number");
  number.textContent = String(i + 1);
  number.hidden = count === 1;
  const light = (on) => photo.item.querySelectorAll(".box")[i]?.classList.toggle("lit", on && count > 1);
  face.addEventListener("pointerenter", () => light(true));
  face.addEventListener("pointerleave", () => light(false));
  offerOcclusion(face, photo, i);
  return face;
}

function drawBoxes(item, faces) {
  const image = item.querySelector("img");
  const layer = item.querySelector(".boxes");
  if (!image.naturalWidth) return;
  Object.assign(layer.style, {
    left: `${image.offsetLeft}px`, top: `${image.offsetTop}px`,
    width: `${image.offsetWidth}px`, height: `${image.offsetHeight}px`,
  });
  layer.replaceChildren(...faces.map((face, i) => createBox(face, i, faces.length, image)));
}

function createBox(face, i, count, image) {
  const [x1, y1, x2, y2] = face.box;
  const percent = (value, whole) => `${(100 * value) / whole}%`;
  const box = document.createElement("div");
  box.className = `box ${(face.age_group ?? "").toLowerCase()}`;
  Object.assign(box.style, {
    left: percent(x1, image.naturalWidth), top: percent(y1, image.naturalHeight),
    width: percent(x2 - x1, image.naturalWidth), height: percent(y2 - y1, image.naturalHeight),
  });
  box.classList.toggle("top", (y1 * image.offsetHeight) / image.naturalHeight < 30);
  const label = document.createElement("span");
  label.textContent = count > 1 ? `${i + 1} ${title(face)}` : title(face);
  box.append(label);
  return box;
}

// ---- the occlusion map of a face ----

function offerOcclusion(face, photo, i) {
  const button = face.querySelector(".occlude");
  button.hidden = false;
  const figure = face.querySelector(".occlusion");
  button.addEventListener("click", async () => {
    const show = figure.hidden;
    if (show && !figure.childElementCount) {
      button.disabled = true;
      try {
        figure.append(...(await drawOcclusion(photo, i)));
      } catch (error) {
        showError(error.message);
        return;
      } finally {
        button.disabled = false;
      }
    }
    figure.hidden = !show;
    button.setAttribute("aria-pressed", String(show));
  });
}

async function drawOcclusion(photo, i) {
  const { size, crop, drops, age_group: group } = await request(`v1/occlusion?face=${i}`, {
    method: "POST", body: photo.file, headers: { "Content-Type": "application/octet-stream" },
  });
  const cells = drops.flat();
  const largest = Math.max(...cells);
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Occlusion map: the face as the model takes it; the patches that matter glow");
  const context = canvas.getContext("2d");
  const bytes = Uint8Array.from(atob(crop), (c) => c.charCodeAt(0));
  context.drawImage(await createImageBitmap(new Blob([bytes], { type: "image/png" })), 0, 0, size, size);
  const small = new OffscreenCanvas(drops[0].length, drops.length);
  const pixels = new ImageData(drops[0].length, drops.length);
  cells.forEach((drop, k) => pixels.data.set([255, 120, 0, 200 * drop / Math.max(largest, 1e-6)], 4 * k));
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, size, size);
  const caption = document.createElement("figcaption");
  caption.textContent = `The face as the model takes it. With the brightest patch covered, the probability of ${group} `
    + `drops by ${(100 * largest).toFixed(1)} points.`;
  return [canvas, caption];
}

// ---- the page around it ----

const allPhotos = () => entries.flatMap((entry) => entry.photos ?? [entry]);

// In the order of the command line: the record of an identity comes after those of its photos.
const allRecords = () => entries
  .flatMap((entry) => [...(entry.photos ?? [entry]).flatMap((photo) => photo.records ?? []), entry.record])
  .filter(Boolean);

function layOut() {
  const any = entries.length > 0;
  byId("results").hidden = !any;
  document.body.classList.toggle("compact", any);
  byId("gallery").classList.toggle("single", entries.length === 1 && !entries[0].photos);
  showProgress();
}

function showProgress() {
  const photos = allPhotos();
  const done = photos.filter((p) => p.records).length;
  const faces = photos.flatMap((p) => p.records ?? []).filter((r) => r.box).length;
  const bar = byId("progress");
  bar.max = Math.max(photos.length, 1);
  bar.value = done;
  bar.classList.toggle("done", done === photos.length);
  byId("download").disabled = done === 0 || !model;
  for (const entry of entries) entry.item.querySelector(".more")?.toggleAttribute("disabled", !entry.record);
  const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
  byId("status").textContent = done < photos.length
    ? `${done} of ${count(photos.length, "photo")}` : `${count(photos.length, "photo")}, ${count(faces, "face")}`;
}

function showError(text) {
  byId("error").textContent = text;
  byId("error").hidden = !text;
}

function clear() {
  for (const photo of allPhotos()) {
    URL.revokeObjectURL(photo.item.querySelector("img").src);
    photo.observer?.disconnect();
  }
  entries.length = queue.length = 0;
  byId("gallery").replaceChildren();
  showError("");
  layOut();
  byId("choose").focus();
}

// The rules of inference/writers.py, for the columns that the service names.
function csvCell(record, { keys, digits }) {
  const value = keys.reduce((found, key) => found?.[key], record);
  if (value == null) return "";
  if (digits != null) return value.toFixed(digits);
  let text = Array.isArray(value) ? value.join(model.records.set_separator) : String(value);
  if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`; // no formula in a spreadsheet
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function toCsv(records) {
  const { columns } = model.records;
  const rows = records.map((record) => columns.map((column) => csvCell(record, column)).join(","));
  return [columns.map(({ name }) => name).join(","), ...rows, ""].join("\n");
}

function download() {
  const text = toCsv(allRecords());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "threeages.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function showTogether() {
  const on = byId("together").checked;
  byId("together-note").hidden = !on;
  byId("invitation").textContent = on ? "Drop all photos of one person here, or" : "Drop photos here, paste one, or";
}

async function openCamera() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    byId("video").srcObject = stream;
    byId("camera-dialog").showModal();
    await byId("video").play();
  } catch {
    showError("No camera can be used here. Browsers allow it on this machine and over HTTPS only.");
  }
}

function closeCamera() {
  for (const track of byId("video").srcObject?.getTracks() ?? []) track.stop();
  byId("video").srcObject = null;
}

// The identity whose photos all come from the camera: with the switch on, the next shot is one more of them.
function lastShots() {
  const last = entries.at(-1);
  return byId("together").checked && last?.photos?.every((photo) => photo.file.name.startsWith("camera-")) ? last : null;
}

function shoot() {
  const video = byId("video");
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    add([new File([blob], `camera-${allPhotos().length + 1}.jpg`, { type: "image/jpeg" })], lastShots());
    byId("camera-dialog").close();
  }, "image/jpeg", 0.95);
}

// The files of a drop, and those of each folder in it: a folder holds the photos of one person.
async function droppedFiles(transfer) {
  const files = [...transfer.files];
  const found = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // before any wait
  const folders = found.filter((entry) => entry.isDirectory);
  if (!folders.length) return [files];
  const names = new Set(folders.map((folder) => folder.name));
  return [files.filter((file) => !names.has(file.name)), ...(await Promise.all(folders.map(filesOf)))];
}

async function filesOf(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    return !file.type || file.type.startsWith("image/") ? [file] : []; // of a folder, photos only
  }
  const reader = entry.createReader();
  const entries = [];
  for (;;) { // a reader gives a part at a time
    const part = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!part.length) break;
    entries.push(...part);
  }
  entries.sort((a, b) => a.name.localeCompare(b.name));
  return (await Promise.all(entries.map(filesOf))).flat();
}

function dropHere() {
  let depth = 0; // dragenter and dragleave also come from children
  const zone = byId("drop");
  addEventListener("dragenter", () => { depth += 1; zone.classList.add("over"); });
  addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) zone.classList.remove("over"); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    zone.classList.remove("over");
    const identity = event.target.closest?.(".identity")?.identity;
    for (const files of await droppedFiles(event.dataTransfer)) add(files, identity);
  });
  addEventListener("paste", (event) => add([...event.clipboardData.files]));
}

function showModel(answer) {
  model = answer;
  byId("model").textContent = model.description;
}

function askForKey() {
  byId("key-button").hidden = false;
  byId("key-dialog").showModal();
}

byId("theme").addEventListener("click", switchTheme);
byId("choose").addEventListener("click", () => { target = null; byId("files").click(); });
byId("files").addEventListener("change", (event) => { add([...event.target.files], target); event.target.value = ""; });
byId("together").addEventListener("change", showTogether);
byId("camera").addEventListener("click", openCamera);
byId("camera").hidden = !navigator.mediaDevices?.getUserMedia;
byId("shoot").addEventListener("click", shoot);
byId("camera-close").addEventListener("click", () => byId("camera-dialog").close());
byId("camera-dialog").addEventListener("close", closeCamera);
byId("download").addEventListener("click", download);
byId("clear").addEventListener("click", clear);
byId("key-button").addEventListener("click", () => byId("key-dialog").showModal());
byId("key-dialog").addEventListener("close", () => {
  if (byId("key").value) sessionStorage.setItem("key", byId("key").value);
  byId("key").value = "";
  work();
});
dropHere();
showTogether(); // a reload keeps the switch
loadModel().catch((error) => { byId("key-button").hidden = error.status !== 401; });
