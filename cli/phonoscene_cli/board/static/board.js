"use strict";
// What HTML cannot say: times of the reader's own zone, keys, uploads, and seeking on a waveform.

const FIELD = "input, textarea, select";
const silent = document.getElementById("silent");

function spoken(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showTimes() {
  for (const one of document.querySelectorAll("time[data-local]"))
    write(one, new Date(one.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }));
  for (const one of silent.hidden ? document.querySelectorAll("time[data-since]") : [])
    write(one, `for ${spoken((Date.now() - new Date(one.dateTime)) / 1000)}`);
}

function markErrors() {
  for (const one of document.querySelectorAll(".field-error")) {
    const field = document.getElementById(one.id.replace("error-", "field-"));
    field?.setAttribute("aria-invalid", one.textContent.trim() !== "");
    if (one.textContent.trim()) field?.closest("details")?.setAttribute("open", "");
  }
}

// A price holds for the form that it was made of: until the next one comes, no button offers it, nor
// one that was on its way when the form was changed, or that comes before all files have.
let isOutdated = false;

function outdate() {
  isOutdated = true;
  document.querySelector("#outcome button.primary")?.setAttribute("disabled", "");
}

document.addEventListener("htmx:before:request", (event) => {
  if (event.target.id !== "fields" && event.target.closest("#drop-form"))
    isOutdated = document.querySelector("#uploads progress") !== null;
  if (event.detail.ctx.target.id === "outcome") tellExamination(event.detail.ctx.target);
});
document.addEventListener("htmx:after:swap", (event) => {
  if (isOutdated && event.target.id === "outcome") outdate();
});

// Below what was found before, so that no button moves; what asks for files is answered by them.
function tellExamination(outcome) {
  const audio = [...document.querySelectorAll("#uploads [data-place]")].filter((one) => AUDIO.test(one.dataset.place));
  const name = audio.length > 1 ? `${audio.length} files` : audio[0]?.dataset.place ?? outcome.dataset.name;
  if (!name) return;
  for (const one of outcome.querySelectorAll(".step")) one.remove();
  const line = outcome.querySelector(".examining") ?? outcome.appendChild(document.createElement("p"));
  line.className = "quiet examining";
  write(line, `Examining ${name} …`);
}

// A JSON file fills the fields with what they held when it was asked for: one that was changed since
// stays as it is, with the focus and the caret.

const fields = () => [...document.querySelectorAll("#fields [name]")];

document.addEventListener("htmx:before:swap", (event) => {
  const { ctx } = event.detail, now = document.activeElement;
  if (event.target.id !== "fields") return;
  ctx.changed = fields().filter((one) => ctx.request.body.get(one.name) !== one.value);
  ctx.caret = ctx.changed.includes(now) && [now, now.selectionStart, now.selectionEnd];
  ctx.isOpen = document.querySelector("#fields details").open;
});

function keep({ request, changed, caret, isOpen }) {
  const kept = document.getElementById("kept"), names = kept.querySelector("span");
  if (isOpen) document.querySelector("#fields details").open = true;
  for (const one of changed) {
    const place = document.getElementById(one.id);
    if (!place) document.getElementById("fields").append(one.closest(".field"));
    else if (place !== one && place.value && place.value !== request.body.get(one.name)) {
      names.append(names.textContent && ", ", place.labels[0].textContent);
      kept.hidden = false;
    }
    place?.replaceWith(one);
  }
  if (!caret) return;
  caret[0].focus();
  caret[0].setSelectionRange?.(caret[1], caret[2]);
}

// One after another: each sends the fields that the one before has filled. Then the form is examined.
let isFilling = false, isDueAgain = false;

function refill() {
  isDueAgain = isFilling;
  if (!isFilling) htmx.trigger("#fields", "sidecar");
  isFilling = true;
}

document.addEventListener("htmx:finally:request", (event) => {
  if (event.target.id !== "fields") return;
  isFilling = false;
  if (isDueAgain) refill();
  else htmx.trigger("#outcome", "staged");
});

// What was typed or uploaded is lost with the page, until it is dropped.
let isUnsaved = false;

document.addEventListener("input", (event) => {
  if (!event.target.closest("#drop-form")) return;
  outdate();
  isUnsaved ||= event.target.id !== "files";
});
document.addEventListener("htmx:after:request", (event) => {
  if (event.detail.ctx?.hx?.redirect) isUnsaved = false;
});
window.addEventListener("beforeunload", (event) => { if (isUnsaved) event.preventDefault(); });

// Uploads: files are sent to this machine as they are chosen; the form is examined with them.

const AUDIO = /\.(mp3|wav|flac|m4a|aac|og[ga]|opus)$/i;

// A page has one JSON file: it takes the place of an earlier one.
function placeOf(name) {
  return /\.json$/i.test(name) ? "sidecar" : name;
}

function line(name) {
  const item = document.createElement("li");
  const end = document.createElement("span");
  item.append(name, " ", end);
  document.getElementById("uploads").append(item);
  return end;
}

function finish(end, text) {
  const button = document.createElement("button"), name = end.parentElement.firstChild.data;
  button.type = "button";
  button.textContent = "Remove";
  button.setAttribute("aria-label", `Remove ${name}`);
  write(end, text);
  end.after(" ", button);
}

// The places that are filled go with the form: a board that was started again has none of the files.
function list() {
  const taken = [...document.querySelectorAll("#uploads [data-place]")].map((one) => one.dataset.place);
  document.getElementById("listed").value = taken.join("/");
}

function accept(end, name, image) {
  const place = placeOf(name), field = document.getElementById("field-image_url");
  const item = end.parentElement;
  for (const one of document.querySelectorAll("#uploads li"))
    if (one !== item && (one.dataset.place === place || one.firstChild.data === name)) one.remove();
  item.dataset.place = place;
  list();
  isUnsaved = true;
  if (place !== name || AUDIO.test(name)) return;
  const images = document.getElementById("images");
  if (![...images.options].some((one) => one.value === name)) images.append(new Option(name));
  if (image && !field.value.trim()) field.value = image;
}

// Whether the file was taken; an answer to an image may be the text for an empty image field.
function upload(form, file) {
  const end = line(file.name), bar = document.createElement("progress");
  bar.setAttribute("aria-label", `Reading ${file.name}`);
  end.append(bar);
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("PUT", `/drop/${form.dataset.drop}/files/${encodeURIComponent(file.name)}`);
    request.setRequestHeader("HX-Request", "true");
    request.upload.onprogress = (event) => { bar.max = event.total; bar.value = event.loaded; };
    request.onerror = async () => {
      const isGone = await file.slice(0, 1).arrayBuffer().then((start) => !start.byteLength, () => true);
      finish(end, isGone
        ? "✕ It cannot be read: it was changed, moved or deleted, or is a folder. Choose the file again."
        : "✕ The board does not answer. Start it again.");
      done(false);
    };
    request.onload = () => {
      const answer = new DOMParser().parseFromString(request.responseText, "text/html");
      const isTaken = request.status === 200;
      finish(end, isTaken ? "✓" : `✕ ${answer.body.textContent.trim()}`);
      if (isTaken) accept(end, file.name, request.responseText);
      done(isTaken);
    };
    request.send(file);
  });
}

// One after another, in the order in which they were chosen. Only then the form is examined, after a
// JSON file has filled it.
async function take(files) {
  const form = document.querySelector("form[data-drop]"), taken = new Set();
  outdate();
  for (const file of files) {
    const place = placeOf(file.name);
    if (place !== "sidecar" && taken.has(place))
      finish(line(file.name), "✕ Another file of this name came with it. Rename one of them.");
    else if (await upload(form, file)) taken.add(place);
  }
  if (taken.has("sidecar")) refill();
  else htmx.trigger("#outcome", "staged");
}

// The files that were dragged in; a folder stands for those in it, but for hidden ones.
async function dragged(transfer) {
  const found = [...transfer.items].map((item) => [item.getAsFile(), item.webkitGetAsEntry()]);
  const files = found.map(([file, entry]) => (entry?.isDirectory ? filesOf(entry) : [file]));
  return (await Promise.all(files)).flat().filter(Boolean).sort((one, other) => one.name.localeCompare(other.name));
}

async function filesOf(folder) {
  const files = await filesIn(folder.createReader());
  if (!files.length) finish(line(folder.name), "✕ There are no files in this folder itself. Drag in the folders below it.");
  return files;
}

// A reader hands out a part of them at a time, and nothing at the end.
async function filesIn(reader) {
  const entries = await new Promise((done) => reader.readEntries(done, () => done([])));
  const seen = entries.filter((one) => one.isFile && !one.name.startsWith("."));
  const files = seen.map((one) => new Promise((done) => one.file(done, () => done(null))));
  return entries.length ? [...await Promise.all(files), ...await filesIn(reader)] : [];
}

// A file that was taken is removed from the board, too, with what it has filled in.
async function remove(item) {
  const { place } = item.dataset, name = item.firstChild.data;
  if (place) {
    const { drop } = document.querySelector("form[data-drop]").dataset;
    outdate();
    delete item.dataset.place; // what is sent meanwhile lists less, and is not called lost
    list();
    const options = { method: "POST", headers: { "HX-Request": "true" } };
    const answer = await fetch(`/drop/${drop}/files/${encodeURIComponent(name)}/remove`, options).catch(() => null);
    if (!answer?.ok) {
      item.dataset.place = place;
      list();
      return htmx.trigger("#outcome", "staged");
    }
  }
  const next = item.nextElementSibling ?? item.previousElementSibling;
  (next?.querySelector("button") ?? document.getElementById("files")).focus();
  item.remove();
  list();
  if (place && !AUDIO.test(place)) refill();
  else htmx.trigger("#outcome", "staged");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("#uploads button");
  if (button) remove(button.parentElement);
});

document.addEventListener("htmx:after:swap", (event) => {
  if (event.target.id === "fields") keep(event.detail.ctx);
  if (event.target.id === "outcome" && document.querySelector("#outcome [data-lost]")) {
    document.getElementById("uploads").replaceChildren();
    list();
  }
});

// A button that is disabled while it works loses the focus; what is written about it gets it.
document.addEventListener("htmx:before:request", (event) => {
  const { sourceElement, target } = event.detail.ctx;
  if (!sourceElement.disabled || ![sourceElement, document.body].includes(document.activeElement)) return;
  target.tabIndex = -1;
  target.focus();
});

document.addEventListener("change", (event) => {
  if (event.target.id === "files") take(event.target.files);
});
document.addEventListener("click", (event) => {
  if (event.target.id === "files") event.target.value = ""; // a corrected file is chosen again
});
for (const kind of ["dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    const zone = document.getElementById("zone");
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // otherwise the browser leaves the page and opens the file
    if (!zone) return;
    zone.classList.toggle("over", kind === "dragover");
    if (kind === "drop") dragged(event.dataTransfer).then(take);
  });

// Waveforms: a click seeks the video or the audio below, and a line shows where it plays.

function mediaOf(figure) {
  return document.querySelector(`video#${figure.dataset.media}`) ?? document.querySelector("audio");
}

function seek(seconds, media) {
  if (!media) return;
  media.currentTime = seconds;
  media.play().catch(() => {});
}

document.addEventListener("click", (event) => {
  const svg = event.target.closest(".waveform[data-media] svg");
  if (svg) {
    const figure = svg.closest("figure"), box = svg.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * figure.dataset.seconds, mediaOf(figure));
  }
  const button = event.target.closest("[data-seek]");
  if (button) seek(Number(button.dataset.seek), document.querySelector("main video") ?? document.querySelector("audio"));
});
document.addEventListener("timeupdate", (event) => {
  for (const figure of document.querySelectorAll(".waveform[data-media]"))
    if (mediaOf(figure) === event.target) {
      const svg = figure.querySelector("svg"), head = figure.querySelector(".head");
      const x = (event.target.currentTime / figure.dataset.seconds) * svg.viewBox.baseVal.width;
      head.setAttribute("x1", x);
      head.setAttribute("x2", x);
    }
}, true);

// A video of a gallery shows a frame of its second second, and plays from its beginning.
const begun = new WeakSet();

document.addEventListener("play", (event) => {
  if (event.target.dataset.still === undefined || begun.has(event.target)) return;
  begun.add(event.target);
  event.target.currentTime = 0;
}, true);

// Keys.

function move(step) {
  const links = [...document.querySelectorAll(".item > a")];
  const now = links.indexOf(document.activeElement);
  links[Math.min(Math.max(now + step, 0), links.length - 1)]?.focus();
}

const KEYS = {
  "/": () => document.getElementById("search").focus(),
  "?": () => document.getElementById("keys").showModal(),
  d: () => location.assign("/drop"),
  j: () => move(1),
  k: () => move(-1),
};

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest(`${FIELD}, dialog[open], [contenteditable]`);
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

// A page whose board has ended says so. Once it is started again it refuses the page's cookie.

for (const kind of ["htmx:error", "htmx:sse:error"])
  document.addEventListener(kind, () => { silent.hidden = false; });
document.addEventListener("htmx:sse:after:connection", () => { silent.hidden = true; });
document.addEventListener("htmx:after:request", (event) => { silent.hidden = event.detail.ctx.response.status !== 403; });

// A hidden page asks nothing, and opens no stream: a browser has six connections to a host for all its tabs.

function connect() {
  if (!document.hidden)
    for (const one of document.querySelectorAll("[hx-sse\\:connect]")) htmx.trigger(one, "shown");
}

document.addEventListener("htmx:before:request", (event) => {
  if (document.hidden && event.detail.ctx.sourceEvent.type === "every") event.preventDefault();
});
document.addEventListener("visibilitychange", connect);
document.addEventListener("htmx:after:process", connect);

// A page that is shown says what it shows: its times and its errors, after each change.

document.addEventListener("htmx:after:swap", () => { showTimes(); markErrors(); });
setInterval(showTimes, 1000);
showTimes();
