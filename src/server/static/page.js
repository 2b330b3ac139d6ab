// The drawing page: a sheet of strokes and pictures, sent to the server as it changes, one request at a time.

const SIDE = 280; // side of the sheet in its own units, and of the PNG that is sent in pixels
const PEN = 22; // width of a stroke: 2.2 of the 28 pixels that a network reads
const MAX_BYTES = 700_000; // larger pictures are scaled down: the base64 of a correction stays below 1 MiB
const MAX_PIXELS = 4_000_000;
const MAX_SIDE = 1024;
const SERVER_TYPES = ["image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"];
const PAUSE_MS = 30; // between an answer and the next request
const LOOK_MS = 150; // during a stroke the Grad-CAM map is requested only if answers come faster

const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const ink = $("ink"), marks = $("marks");
const sheet = new OffscreenCanvas(SIDE, SIDE);
const still = matchMedia("(prefers-reduced-motion: reduce)");

let model = { classes: [], target: null };
let photos = false; // the network reads colours: the sheet shows pictures and is not drawn on
let done = [], undone = []; // strokes, pictures and clearings, in order
let version = 0; // of the drawing
let strokeActive = false; // the pen is down
let rejectedVersion = -1; // this version gets no answer: an unreadable file was to replace it
let answer = null; // the answer on the page: { version, picture: Blob, origin, result }
let selected = 0; // index of the digit that bars, images and correction are about
const corrections = new Map(); // "version digit" -> the last correction sent: its class and the message shown
const pen = { x: SIDE / 2, y: SIDE / 2, down: false, shown: false };

// ---- the sheet --------------------------------------------------------------------------------------------------

/** The items on the sheet: everything after the last clearing. */
function visible() {
  return done.slice(done.findLastIndex((item) => item.kind === "clear") + 1);
}

function add(item) {
  done.push(item);
  undone = [];
  changed();
}

function changed() {
  version += 1;
  const search = $("choices").querySelector("input");
  if (search) search.value = ""; // the class of the picture before
  if (answer) renderCorrection(answer.result.digits[selected]);
  draw();
  refreshTools();
  requestAnswer();
}

function refreshTools() {
  $("undo").disabled = done.length === 0;
  $("redo").disabled = undone.length === 0;
  $("clear").disabled = visible().length === 0;
  $("hint").hidden = visible().length > 0;
}

function undo() {
  if (done.length === 0) return;
  undone.push(done.pop());
  changed();
}

function redo() {
  if (undone.length === 0) return;
  done.push(undone.pop());
  changed();
}

function clear() {
  if (visible().length) add({ kind: "clear" });
}

/** Draw the items in sheet units; a picture covers earlier items. */
function paint(context, items, background, colour) {
  context.fillStyle = background;
  context.fillRect(0, 0, SIDE, SIDE);
  for (const item of items) {
    if (item.kind === "picture") {
      context.fillStyle = `rgb(${item.background})`;
      context.fillRect(0, 0, SIDE, SIDE);
      context.imageSmoothingQuality = "high";
      context.drawImage(item.bitmap, item.rect.x, item.rect.y, item.rect.w, item.rect.h);
      colour = item.background.reduce((sum, level) => sum + level) > 384 ? "#000" : "#fff";
    } else drawStroke(context, item.points, colour);
  }
}

/** A curve through the points, with the width of each. */
function drawStroke(context, points, colour) {
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = context.fillStyle = colour;
  if (points.length === 1) {
    context.beginPath();
    context.arc(points[0].x, points[0].y, points[0].w / 2, 0, 2 * Math.PI);
    context.fill();
  }
  const even = points.every((point) => point.w === points[0].w);
  const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  context.lineWidth = points[0].w;
  context.beginPath();
  context.moveTo(points[0].x, points[0].y);
  for (let i = 1; i < points.length; i++) {
    const end = i === points.length - 1 ? points[i] : middle(points[i], points[i + 1]);
    context.quadraticCurveTo(points[i].x, points[i].y, end.x, end.y);
    if (!even) {
      context.lineWidth = (points[i - 1].w + points[i].w) / 2;
      context.stroke();
      context.beginPath();
      context.moveTo(end.x, end.y);
    }
  }
  if (even) context.stroke();
}

/** A canvas as sharp as the screen, drawn on in sheet units. */
function contextOf(canvas) {
  const side = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.setTransform(side / SIDE, 0, 0, side / SIDE, 0, 0);
  return context;
}

function draw() {
  const style = getComputedStyle(document.documentElement);
  paint(contextOf(ink), visible(), style.getPropertyValue("--sheet"), style.getPropertyValue("--ink"));
  drawOverlay();
}

/** Draw the boxes of the digits, and the pen of the keyboard. */
function drawOverlay() {
  const context = contextOf(marks);
  context.clearRect(0, 0, SIDE, SIDE);
  const accent = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  const digits = answer?.result.digits ?? [];
  context.globalAlpha = isCurrent() ? 1 : 0.25; // faint on a newer drawing; hidden until the next answer they would flicker
  const several = digits.length > 1 || (!photos && visible().some((item) => item.kind === "picture"));
  if (several) digits.forEach((digit, index) => drawBox(context, digit, index, accent, digits.length > 1));
  context.globalAlpha = 1;
  if (pen.shown) {
    context.lineWidth = 2;
    context.strokeStyle = accent;
    context.beginPath();
    context.arc(pen.x, pen.y, PEN / 2 + 2, 0, 2 * Math.PI);
    context.stroke();
    if (pen.down) {
      context.fillStyle = accent;
      context.fill();
    }
  }
}

function drawBox(context, digit, index, accent, named) {
  if (!digit.box) return;
  const [left, top, right, bottom] = digit.box;
  const { x, y, scale } = answer.origin;
  const gap = 4;
  const [l, t] = [Math.max(1.5, x + left * scale - gap), Math.max(1.5, y + top * scale - gap)];
  const [r, b] = [Math.min(SIDE - 1.5, x + right * scale + gap), Math.min(SIDE - 1.5, y + bottom * scale + gap)];
  context.strokeStyle = context.fillStyle = accent;
  context.lineWidth = index === selected ? 2.5 : 1;
  context.setLineDash(index === selected ? [] : [4, 3]);
  context.beginPath();
  context.roundRect(l, t, r - l, b - t, 5);
  context.stroke();
  context.setLineDash([]);
  if (named) {
    context.font = "600 13px system-ui, sans-serif";
    context.textBaseline = t > 20 ? "bottom" : "top";
    context.fillText(digit.label ?? "", l + 2, t > 20 ? t - 2 : b + 3);
  }
}

// ---- pen, mouse and finger ----------------------------------------------------------------------------------------

let pointer = null;

function pointOf(event) {
  const box = ink.getBoundingClientRect();
  const w = event.pointerType === "pen" && event.pressure > 0 ? PEN * (0.7 + 0.6 * event.pressure) : PEN;
  return { x: ((event.clientX - box.left) / box.width) * SIDE, y: ((event.clientY - box.top) / box.height) * SIDE, w };
}

ink.addEventListener("pointerdown", (event) => {
  if (photos || pointer !== null || (event.pointerType === "mouse" && event.button !== 0)) return;
  event.preventDefault();
  $("sheet").classList.add("by-hand"); // browsers draw a focus ring when a script sets the focus
  ink.focus({ preventScroll: true });
  pen.shown = pen.down = false;
  pointer = event.pointerId;
  ink.setPointerCapture(pointer);
  strokeActive = true;
  add({ kind: "stroke", points: [pointOf(event)] });
});

ink.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const points = done.at(-1).points;
  const events = event.getCoalescedEvents?.() ?? [];
  for (const each of events.length ? events : [event]) {
    const point = pointOf(each), last = points.at(-1);
    if (Math.hypot(point.x - last.x, point.y - last.y) >= 0.7) points.push(point);
  }
  changed();
});

for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
  ink.addEventListener(name, (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    strokeActive = false;
    if (answer) renderCorrection(answer.result.digits[selected]);
    drawOverlay();
    requestAnswer(); // for the final drawing, or for its Grad-CAM map
    announceAnswer();
  });

// ---- keyboard -------------------------------------------------------------------------------------------------------

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

ink.addEventListener("keydown", (event) => {
  $("sheet").classList.remove("by-hand");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (photos) {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    $("file").click();
    return;
  }
  const move = MOVES[event.key];
  if (move) {
    const step = event.shiftKey ? 3 : 10;
    const [x, y] = [pen.x + move[0] * step, pen.y + move[1] * step].map((v) => Math.min(SIDE - 10, Math.max(10, v)));
    pen.shown = true;
    Object.assign(pen, { x, y });
    if (pen.down && done.at(-1)?.kind === "stroke") {
      done.at(-1).points.push({ x, y, w: PEN });
      changed();
    } else {
      pen.down = false;
      drawOverlay();
    }
  } else if (event.key === " ") {
    pen.down = !pen.down || !pen.shown;
    pen.shown = true;
    if (pen.down) add({ kind: "stroke", points: [{ x: pen.x, y: pen.y, w: PEN }] });
    else drawOverlay();
    announce(pen.down ? "Pen down" : "Pen up");
    if (!pen.down) announceAnswer();
  } else return;
  event.preventDefault();
});

ink.addEventListener("blur", () => {
  $("sheet").classList.remove("by-hand");
  pen.shown = pen.down = false;
  drawOverlay();
});

addEventListener("keydown", (event) => {
  if (event.target.matches?.("input, select")) return;
  const key = event.key.toLowerCase(), command = event.ctrlKey || event.metaKey;
  if (command && key === "z" && !event.shiftKey) undo();
  else if (command && (key === "y" || (key === "z" && event.shiftKey))) redo();
  else if (event.key === "Escape") clear();
  else return;
  pen.down = false;
  event.preventDefault();
});

for (const [id, action] of [["undo", undo], ["redo", redo], ["clear", clear]])
  $(id).addEventListener("click", () => {
    pen.down = false;
    action();
    if ($(id).disabled) ink.focus({ preventScroll: true }); // a disabled button would lose the focus
  });

// ---- pictures --------------------------------------------------------------------------------------------------------

$("open").addEventListener("click", () => $("file").click());
ink.addEventListener("click", () => photos && !visible().length && $("file").click());
$("file").addEventListener("change", (event) => {
  addPicture(event.target.files[0]);
  event.target.value = "";
});
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
  if (file) {
    event.preventDefault();
    addPicture(file);
  }
});
addEventListener("dragover", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  $("sheet").classList.add("dropping");
});
for (const name of ["dragleave", "drop", "dragend"])
  addEventListener(name, (event) => {
    if (name !== "dragleave" || !event.relatedTarget) $("sheet").classList.remove("dropping");
  });
addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  addPicture(event.dataTransfer.files[0]);
});

/** Fit a picture into the sheet, surrounded by the colour of its border. */
async function addPicture(file) {
  if (!file) return;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    rejectedVersion = version;
    answer = null;
    render();
    setStatus(`${file.name || "This file"} is not a picture that browsers can show (PNG, JPEG, WebP, BMP or GIF)`);
    return;
  }
  const { background, clear: transparent } = borderColor(bitmap);
  let picture = file;
  if (file.size > MAX_BYTES || !SERVER_TYPES.includes(file.type) || bitmap.width * bitmap.height > MAX_PIXELS) {
    const shrink = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
    const small = new OffscreenCanvas(...[bitmap.width, bitmap.height].map((v) => Math.max(1, Math.round(v * shrink))));
    const context = small.getContext("2d");
    context.imageSmoothingQuality = "high";
    if (transparent) {
      context.fillStyle = `rgb(${background})`;
      context.fillRect(0, 0, small.width, small.height);
    }
    context.drawImage(bitmap, 0, 0, small.width, small.height);
    picture = await small.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  }
  const scale = Math.min(SIDE / bitmap.width, SIDE / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  setStatus("");
  add({ kind: "picture", bitmap, picture, background, rect: { x: (SIDE - w) / 2, y: (SIDE - h) / 2, w, h } });
}

/** The median colour of a picture's border; for transparent pictures white, or black under light ink. */
function borderColor(bitmap) {
  const n = 32, small = new OffscreenCanvas(n, n), context = small.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, n, n);
  const { data } = context.getImageData(0, 0, n, n), border = [[], [], []];
  let weight = 0, light = 0, clear = false;
  for (let i = 0; i < n * n; i++) {
    const [r, g, b, a] = data.subarray(4 * i, 4 * i + 4), x = i % n, y = (i - x) / n;
    clear ||= a < 250;
    weight += a;
    light += (a * (r + g + b)) / 3;
    if (x === 0 || y === 0 || x === n - 1 || y === n - 1) [r, g, b].forEach((level, c) => border[c].push(level));
  }
  if (clear) return { clear, background: light > 128 * weight ? [0, 0, 0] : [255, 255, 255] };
  return { clear, background: border.map((levels) => levels.sort((p, q) => p - q)[levels.length >> 1]) };
}

/** What to send, and where it lies on the sheet: a picture without strokes as it is, otherwise the sheet as PNG. */
async function snapshot(items) {
  const last = items.at(-1);
  if (last.kind === "picture") return { picture: last.picture, rect: last.rect };
  paint(sheet.getContext("2d"), items, "#fff", "#000");
  return { picture: await sheet.convertToBlob({ type: "image/png" }), rect: { x: 0, y: 0, w: SIDE, h: SIDE } };
}

// ---- requests --------------------------------------------------------------------------------------------------------

class ServerError extends Error {
  constructor(message, status, wait_s) {
    super(message);
    Object.assign(this, { status, wait_s });
  }
}

/** The JSON of a response. Throws ServerError with the server's message, or TypeError if there is no response. */
async function fetchJson(path, options = {}) {
  const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...options.headers };
  const reply = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(15_000), cache: "no-store" });
  const body = await reply.json().catch(() => ({}));
  if (reply.ok) return body;
  const hint = reply.status === 401 ? " Add #token=… to the address of this page." : "";
  const text = (body.error?.message ?? `the server answered ${reply.status}`) + hint;
  throw new ServerError(text, reply.status, Number(reply.headers.get("Retry-After")) || 0);
}

let inFlight = false, failures = 0, elapsed_ms = 0, timer = null;
let answeredVersion = -1, answeredWithMap = false; // the last version with an answer, and whether with Grad-CAM

/** Request the answer to the current drawing, unless a request is in flight: the next one is then for the newest. */
async function requestAnswer() {
  if (inFlight || timer) return;
  if (rejectedVersion === version || (answeredVersion === version && (answeredWithMap || strokeActive))) return;
  const items = visible(), requested = version;
  if (!items.length) {
    answeredVersion = requested;
    answeredWithMap = true;
    answer = null;
    render();
    return;
  }
  inFlight = true;
  const look = !strokeActive || elapsed_ms < LOOK_MS;
  try {
    const { picture, rect } = await snapshot(items);
    const begun = performance.now();
    const count = model.classes.length || 1;
    const result = await fetchJson(`/predict?top_k=${count}&look=${look}`, {
      method: "POST",
      body: picture,
      headers: { "Content-Type": picture.type || "application/octet-stream" },
    });
    const took_ms = performance.now() - begun;
    elapsed_ms = elapsed_ms ? 0.7 * elapsed_ms + 0.3 * took_ms : took_ms;
    failures = 0;
    answeredVersion = requested;
    answeredWithMap = look;
    if (requested > rejectedVersion) {
      if (visible().length) setAnswer(requested, picture, rect, result);
      setStatus("");
    }
  } catch (error) {
    handleError(error, requested);
  }
  inFlight = false;
  if (!timer) scheduleRequest(PAUSE_MS);
}

function scheduleRequest(wait_ms) {
  timer = setTimeout(() => {
    timer = null;
    requestAnswer();
  }, wait_ms);
}

function handleError(error, requested) {
  const busy = [429, 503, 504].includes(error.status);
  if (error instanceof ServerError && !busy) {
    answeredVersion = requested; // the error is the answer
    answeredWithMap = true;
    answer = null;
    render();
    setStatus(error.message);
    return;
  }
  failures += 1;
  if (!answer) render(); // removes the hint to draw
  const wait_s = Math.max(error.wait_s ?? 0, Math.min(8, 0.25 * 2 ** failures));
  const kept = `Your ${photos ? "picture" : "drawing"} is kept`;
  if (!busy) setStatus(`The server does not respond. ${kept}; retrying every ${Math.max(1, Math.round(wait_s))} s.`);
  else if (failures > 2) setStatus("The server is busy; still trying.");
  scheduleRequest(1000 * wait_s);
}

// ---- rendering -------------------------------------------------------------------------------------------------------

function setAnswer(requested, picture, rect, result) {
  if (selected >= result.digits.length || answer?.result.digits.length !== result.digits.length) selected = 0;
  const scale = rect.w / (result.size?.[0] ?? SIDE);
  answer = { version: requested, picture, origin: { x: rect.x, y: rect.y, scale }, result };
  render();
}

const percent = (p) => (p > 0.9995 && p < 1 ? ">99.9" : (100 * p).toFixed(1)) + "\u00a0%";

/** Show the answer: digits, bars, images, correction. */
function render() {
  const result = answer?.result, digits = result?.digits ?? [];
  const number = $("number"), text = result?.prediction ?? "";
  number.classList.toggle("unsure", Boolean(result?.low_confidence));
  number.dataset.size = text.length > 30 ? 6 : Math.min(5, Math.max(1, Math.ceil(text.length / (text.length > 4 ? 1.6 : 1))));
  const names = digits.map((digit) => digit.label ?? String(digit.value));
  if (!digits.length) number.replaceChildren(Object.assign(document.createElement("span"), { className: "none", textContent: "–" }));
  else if (digits.length === 1) number.replaceChildren(names[0]);
  else {
    const hadFocus = number.contains(document.activeElement);
    number.replaceChildren(...names.map((name, index) => digitButton(name, index, digits.length)));
    if (hadFocus) number.children[selected]?.focus();
  }
  $("sure").textContent = describeAnswer(result);
  renderBars(digits[selected]);
  renderInputs(digits[selected]);
  renderCorrection(digits[selected]);
  drawOverlay();
  announceAnswer();
}

function digitButton(name, index, count) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
  button.setAttribute("aria-label", `${name}, character ${index + 1} of ${count}`);
  button.setAttribute("aria-pressed", String(index === selected));
  button.addEventListener("click", () => {
    selected = index;
    render();
  });
  return button;
}

/** Why a sheet that is not empty has no digit. */
const describeEmpty = () => (visible().at(-1).kind === "picture" ? "No ink found in this picture" : "Nothing to read yet");

function describeAnswer(result) {
  if (!visible().length && photos) return "Give a picture, and the network answers";
  if (!visible().length) return model.target ? "Draw something" : "Draw something, and the network reads it";
  if (!result) return rejectedVersion === version && !photos ? "Keep drawing, and the network reads it" : "";
  if (result.reason === "empty" || !result.digits.length) return describeEmpty();
  if (model.target) return model.target;
  const several = result.digits.length > 1;
  const sure = several ? `at least ${percent(result.probability).replace(">", "")} sure of each` : `${percent(result.probability)} sure`;
  const notes = (result.notes ?? []).filter((note) => !note.includes("Grad-CAM"));
  const doubt = result.low_confidence ? `Not certain: ${sure}` : sure;
  return [doubt, ...notes].join(" · ");
}

let rows = new Map(); // class -> its row

function renderBars(digit) {
  const all = model.classes;
  let top = digit?.top ?? [];
  const shown = all.length <= 12 ? all : top.slice(0, 10).map((entry) => entry.label);
  const list = $("bars");
  if ([...rows.keys()].join("\n") !== shown.join("\n")) {
    rows = new Map(shown.map((name) => [name, makeRow(name)]));
    list.replaceChildren(...rows.values());
    list.classList.toggle("long", shown.some((name) => letters(name) > 8));
  }
  const values = new Map(top.map((entry) => [entry.label, entry.probability]));
  for (const [name, item] of rows) {
    const value = values.get(name) ?? 0;
    item.classList.toggle("first", Boolean(digit) && name === digit.label);
    item.querySelector(".fill").style.transform = `scaleX(${value})`;
    item.querySelector(".value").textContent = digit ? percent(value) : "";
  }
}

/** The width of a text in letters: those of Chinese, Japanese and Korean are twice as wide. */
const letters = (text) => [...text].reduce((sum, letter) => sum + (letter > "\u2e7f" ? 2 : 1), 0);

function makeRow(name) {
  const item = document.createElement("li");
  for (const part of ["name", "track", "value"]) item.append(Object.assign(document.createElement("span"), { className: part }));
  item.querySelector(".name").textContent = item.querySelector(".name").title = name;
  item.querySelector(".track").append(Object.assign(document.createElement("span"), { className: "fill" }));
  item.querySelector(".track").setAttribute("aria-hidden", "true");
  return item;
}

let seen = null; // the last image that the network read, as a bitmap

async function renderInputs(digit) {
  const rendered = answer;
  $("inside").classList.toggle("resting", !digit);
  const context = $("seen").getContext("2d"), look = $("looked").getContext("2d");
  if (!digit) {
    for (const each of [context, look]) each.clearRect(0, 0, each.canvas.width, each.canvas.height);
    seen = null;
    return;
  }
  if (!digit.seen) return; // not requested during a stroke on a slow machine: the last images stay
  const bytes = Uint8Array.from(atob(digit.seen), (character) => character.charCodeAt(0));
  seen = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  if (answer !== rendered) return;
  $("seen").width = seen.width;
  $("seen").height = seen.height;
  look.canvas.height = Math.round((look.canvas.width * seen.height) / seen.width);
  context.drawImage(seen, 0, 0);
  $("look").hidden = !digit.looked;
  if (!digit.looked) return;
  const { width, height } = look.canvas;
  look.imageSmoothingEnabled = false;
  look.globalAlpha = 1;
  look.fillStyle = "#000";
  look.fillRect(0, 0, width, height);
  look.globalAlpha = 0.75;
  look.drawImage(seen, 0, 0, width, height);
  look.globalAlpha = 1;
  look.imageSmoothingEnabled = true;
  look.imageSmoothingQuality = "high";
  look.drawImage(heatmap(digit.looked), 0, 0, width, height);
}

/** A map of 0 to 1 as an amber layer, opaque where it is 1. */
function heatmap(values) {
  const [h, w] = [values.length, values[0].length];
  const canvas = new OffscreenCanvas(w, h), context = canvas.getContext("2d"), image = context.createImageData(w, h);
  values.flat().forEach((value, i) => image.data.set([255, 140 + 80 * value, 20, 235 * Math.max(0, value) ** 1.3], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

// ---- announcements for screen readers, once a pause -------------------------------------------------------------------

let announcing = null;

function announce(text) {
  clearTimeout(announcing);
  $("spoken").textContent = text;
}

function announceAnswer() {
  clearTimeout(announcing);
  announcing = setTimeout(() => {
    const result = answer?.result;
    if (strokeActive || pen.down || answer?.version !== version) return;
    if (!result?.digits.length) announce(visible().length ? describeEmpty() : "");
    else announce(`Read ${result.prediction}, ${describeAnswer(result)}`);
  }, 800);
}

function setStatus(text) {
  const line = $("state");
  if (line.textContent === text) return;
  line.textContent = text;
  line.hidden = !text;
  if (text) announce(text);
}

// ---- corrections ------------------------------------------------------------------------------------------------------

function correctionKey() {
  return `${answer.version} ${selected}`;
}

/** Whether the answer is about the current drawing; otherwise it cannot be corrected, and its boxes are faint. */
const isCurrent = () => !strokeActive && answer?.version === version;

function renderCorrection(digit) {
  const form = $("correct");
  form.hidden = !model.classes.length || Boolean(model.target);
  form.classList.toggle("unseen-yet", !digit?.label); // invisible but in place: nothing jumps
  $("thanks").hidden = true;
  if (form.hidden || !digit?.label) return;
  const several = answer.result.digits.length > 1;
  $("wrong").textContent = several
    ? `Is “${digit.label}”, ${selected + 1} of ${answer.result.digits.length}, wrong? It should be …`
    : "Wrong? It should be …";
  const sent = corrections.get(correctionKey());
  for (const button of $("choices").querySelectorAll("button[data-name]")) {
    const name = button.dataset.name, now = name === digit.label;
    button.classList.toggle("now", now);
    button.disabled = sendingCorrection || !isCurrent() || name === sent?.name;
    button.setAttribute("aria-label", now ? `Yes, it is ${name}` : `No, it is ${name}`);
    button.title = now ? "The network's answer" : "";
    button.classList.toggle("sent", name === sent?.name);
  }
  const send = $("choices").querySelector("[type=submit]");
  if (send) {
    const name = foundClass();
    $("choices").querySelector("input").disabled = sendingCorrection || !isCurrent();
    send.disabled = sendingCorrection || !isCurrent() || name === null || name === sent?.name;
    send.textContent = name === null ? "Send" : `Send “${name}”`;
  }
  const line = failedCorrection?.key === correctionKey() ? failedCorrection : sent;
  $("thanks").textContent = line?.text ?? "";
  $("thanks").classList.toggle("failed", Boolean(line) && line === failedCorrection);
  $("thanks").hidden = !line;
}

let sendingCorrection = false;
let failedCorrection = null; // the correction that was not saved: its key and why

function renderChoices() {
  const box = $("choices");
  const longest = Math.max(0, ...model.classes.map((name) => name.length));
  box.classList.toggle("keys", longest <= 2);
  box.style.setProperty("--wide", model.classes.length);
  box.style.setProperty("--narrow", Math.ceil(model.classes.length / 2));
  if (model.classes.length <= 12) {
    box.replaceChildren(
      ...model.classes.map((name) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
        button.dataset.name = name;
        button.addEventListener("click", () => sendCorrection(name));
        return button;
      }),
    );
    return;
  }
  const options = Object.assign(document.createElement("datalist"), { id: "names" });
  options.append(...model.classes.map((name) => new Option(name, name)));
  const search = Object.assign(document.createElement("input"), { type: "text", placeholder: "Search", autocomplete: "off" });
  search.setAttribute("list", "names");
  search.setAttribute("aria-label", `Correct class, one of ${model.classes.length}`);
  search.addEventListener("input", () => answer && renderCorrection(answer.result.digits[selected]));
  const send = Object.assign(document.createElement("button"), { type: "submit", textContent: "Send" });
  box.replaceChildren(search, options, send);
}

/** The class that the search field holds: its name, the only one that differs in capitals, or the only one with that part. */
function foundClass() {
  const typed = $("choices").querySelector("input").value.trim(), small = typed.toLowerCase();
  if (!typed || model.classes.includes(typed)) return typed || null;
  const equal = model.classes.filter((name) => name.toLowerCase() === small);
  const having = equal.length ? equal : model.classes.filter((name) => name.toLowerCase().includes(small));
  return having.length === 1 ? having[0] : null;
}

$("correct").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = foundClass();
  if (name !== null) sendCorrection(name);
});

/** Send the class of a digit. The last correction of a drawing counts: a wrong one is corrected by another. */
async function sendCorrection(name) {
  if (!isCurrent() || sendingCorrection || corrections.get(correctionKey())?.name === name) return;
  const corrected = correctionKey(), digit = answer.result.digits[selected];
  sendingCorrection = true;
  const hadFocus = $("choices").contains(document.activeElement) ? document.activeElement : null;
  renderCorrection(digit);
  const saved = corrections.has(corrected) ? "Changed to" : "Saved as";
  let text = `${saved} ${name}. Wrong${$("choices").querySelector("input") ? " class" : " button"}? Choose again.`;
  try {
    const body = { image: await toBase64(answer.picture), box: digit.box ?? null, answer: digit.label, correction: name };
    const headers = { "Content-Type": "application/json" };
    await fetchJson("/corrections", { method: "POST", body: JSON.stringify(body), headers });
    corrections.set(corrected, { name, text });
    failedCorrection = null;
  } catch (error) {
    text = `Not saved: ${error instanceof ServerError ? error.message : "the server does not respond"}. Try again.`;
    failedCorrection = { key: corrected, text };
  }
  sendingCorrection = false;
  if (answer) renderCorrection(answer.result.digits[selected]);
  if (hadFocus) (hadFocus.disabled ? $("thanks") : hadFocus).focus({ preventScroll: true }); // a disabled button loses the focus
  announce(text);
}

async function toBase64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

// ---- start -------------------------------------------------------------------------------------------------------------

const MOST_LETTERS = 160; // of the classes in the line below the title; more of them unfold

function renderModel() {
  const names = model.classes, [depth, height, width] = model.shape ?? [];
  photos = depth > 1;
  const digits = names.length > 0 && names.every((name) => /^\d$/.test(name));
  const short = names.join(", ").length <= MOST_LETTERS;
  const classes = short ? names.join(", ") : `${names.length} classes`;
  const draws = digits ? "Draw a digit" : model.target ? "Draw something" : "Draw a picture";
  const title = photos ? "Give a picture" : draws;
  $("title").textContent = document.title = title;
  const drawn = digits || model.target ? "The network reads as you draw." : `The network distinguishes ${classes}.`;
  const reads = `on pictures scaled to ${width} × ${height} pixels in colour`;
  $("lead").textContent = !photos ? drawn : model.target ? `The network reads ${reads}.` : `The network distinguishes ${classes}, ${reads}.`;
  $("known").hidden = short;
  $("known-title").textContent = `The ${names.length} classes`;
  $("known-names").replaceChildren(...names.map((name) => Object.assign(document.createElement("li"), { textContent: name })));
  ink.setAttribute("aria-label", photos ? "Picture: press Enter to open a file" : digits ? "Drawing area for one or several digits" : "Drawing area");
  ink.setAttribute("role", photos ? "button" : "application");
  ink.setAttribute("aria-roledescription", photos ? "picture" : "drawing area");
  document.body.classList.toggle("photos", photos);
  $("hint").textContent = photos ? "Drop or paste a picture here, or click to open one" : digits || model.target ? "Draw here" : "Draw here, or open a picture";
  $("help-drawing").hidden = $("keys").hidden = photos;
  $("help-photos").hidden = !photos;
  const parts = [model.engine && `computed by ${model.engine}`];
  const accuracy = typeof model.accuracy === "number" ? model.accuracy : null;
  if (accuracy !== null) parts.push(`${(100 * accuracy).toFixed(2)} % test accuracy`);
  if (model.sha256) parts.push(`network ${model.sha256.slice(0, 12)}`);
  const grey = depth === 3 ? "colours" : "grey levels";
  const size = height ? `${height} × ${width} ${grey}: all that the network sees.` : "";
  $("form").textContent = `${size} ${model.looks === false ? "" : "Amber marks what counted most for the answer."}`.trim();
  $("look").hidden = model.looks === false;
  const line = parts.filter(Boolean).join(" · ");
  $("about").textContent = line;
  if (token) return; // links carry no token
  const docs = Object.assign(document.createElement("a"), { href: "/docs", textContent: "API" });
  $("about").append(line && " · ", docs);
}

/** Load the description of the network; retry until the server responds. */
async function loadModel(failures = 0) {
  try {
    const { classes, ...rest } = await fetchJson("/model");
    model = { ...rest, classes: classes ?? [], target: rest.target ?? null };
    setStatus("");
    renderModel();
    renderChoices();
    answeredVersion = -1;
    requestAnswer();
  } catch (error) {
    const unreachable = !(error instanceof ServerError);
    setStatus(unreachable ? "The server does not respond. Retrying." : error.message);
    if (unreachable || [429, 503, 504].includes(error.status)) setTimeout(loadModel, Math.min(8000, 500 * 2 ** failures), failures + 1);
  }
}

new ResizeObserver(draw).observe(ink);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
still.addEventListener("change", draw);
render();
refreshTools();
loadModel();
