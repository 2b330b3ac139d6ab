// The drawing page: a sheet of strokes and pictures, asked about while it changes, one request at a time.

const SIDE = 280; // the sheet's own units, and the pixels of what is sent
const PEN = 22; // width of a stroke: 2.2 of the 28 pixels that a network sees
const MOST_BYTES = 700_000; // of a picture that is sent as it is, so that its base64 stays below 1 MiB; a larger one is scaled down
const MOST_PIXELS = 4_000_000;
const MOST_SIDE = 1024;
const KNOWN = ["image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"];
const REST_MS = 30; // between an answer and the next request
const LOOK_MS = 150; // while the pen moves, where the network looked is asked for if answers come faster than this

const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const ink = $("ink"), marks = $("marks");
const sheet = new OffscreenCanvas(SIDE, SIDE);
const still = matchMedia("(prefers-reduced-motion: reduce)");

let model = { classes: [], target: null };
let done = [], undone = []; // strokes, pictures and clearings, in their order
let version = 0; // of the drawing
let moving = false; // a stroke is being drawn
let over = -1; // no answer to this version is shown: what was to replace it is no picture
let answer = null; // { version, picture: Blob, rect, found } that is shown
let chosen = 0; // which of its digits
const told = new Map(); // "version digit" of corrections that were sent -> the last of them: its name and what was said
const pen = { x: SIDE / 2, y: SIDE / 2, down: false, shown: false };

// ---- the sheet --------------------------------------------------------------------------------------------------

/** What is on the sheet now: everything after the last clearing. */
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
  if (answer) correction(answer.found.digits[chosen]);
  draw();
  refreshTools();
  ask();
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

/** Draw the items in sheet units; a later picture covers what was before it. */
function paint(context, items, ground, colour) {
  context.fillStyle = ground;
  context.fillRect(0, 0, SIDE, SIDE);
  for (const item of items) {
    if (item.kind === "picture") {
      context.fillStyle = `rgb(${item.ground})`;
      context.fillRect(0, 0, SIDE, SIDE);
      context.imageSmoothingQuality = "high";
      context.drawImage(item.bitmap, item.rect.x, item.rect.y, item.rect.w, item.rect.h);
      colour = item.ground.reduce((sum, level) => sum + level) > 384 ? "#000" : "#fff";
    } else stroke(context, item.points, colour);
  }
}

/** A curve through the points, as wide at each of them as it says. */
function stroke(context, points, colour) {
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
  mark();
}

/** The boxes of the digits that were read, and the pen of the keyboard. */
function mark() {
  const context = contextOf(marks);
  context.clearRect(0, 0, SIDE, SIDE);
  const accent = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  const digits = answer?.found.digits ?? [];
  context.globalAlpha = current() ? 1 : 0.25; // of an older drawing; hidden until the next answer they would flicker
  const several = digits.length > 1 || visible().some((item) => item.kind === "picture");
  if (several) digits.forEach((digit, place) => frame(context, digit, place, accent, digits.length > 1));
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

function frame(context, digit, place, accent, named) {
  if (!digit.box) return;
  const [left, top, right, bottom] = digit.box;
  const { x, y, scale } = answer.place;
  const gap = 4;
  const [l, t] = [Math.max(1.5, x + left * scale - gap), Math.max(1.5, y + top * scale - gap)];
  const [r, b] = [Math.min(SIDE - 1.5, x + right * scale + gap), Math.min(SIDE - 1.5, y + bottom * scale + gap)];
  context.strokeStyle = context.fillStyle = accent;
  context.lineWidth = place === chosen ? 2.5 : 1;
  context.setLineDash(place === chosen ? [] : [4, 3]);
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
  if (pointer !== null || (event.pointerType === "mouse" && event.button !== 0)) return;
  event.preventDefault();
  $("sheet").classList.add("by-hand"); // no ring: a browser shows one where a script gives the focus
  ink.focus({ preventScroll: true });
  pen.shown = pen.down = false;
  pointer = event.pointerId;
  ink.setPointerCapture(pointer);
  moving = true;
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
    moving = false;
    if (answer) correction(answer.found.digits[chosen]);
    mark();
    ask(); // about what is drawn now, or once more, if it was not said where the network looked
    speak();
  });

// ---- keyboard -------------------------------------------------------------------------------------------------------

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

ink.addEventListener("keydown", (event) => {
  $("sheet").classList.remove("by-hand");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
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
      mark();
    }
  } else if (event.key === " ") {
    pen.down = !pen.down || !pen.shown;
    pen.shown = true;
    if (pen.down) add({ kind: "stroke", points: [{ x: pen.x, y: pen.y, w: PEN }] });
    else mark();
    say(pen.down ? "Pen down" : "Pen up");
    if (!pen.down) speak();
  } else return;
  event.preventDefault();
});

ink.addEventListener("blur", () => {
  $("sheet").classList.remove("by-hand");
  pen.shown = pen.down = false;
  mark();
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
    if ($(id).disabled) ink.focus({ preventScroll: true }); // a button that goes grey would lose the focus
  });

// ---- pictures --------------------------------------------------------------------------------------------------------

$("open").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", (event) => {
  place(event.target.files[0]);
  event.target.value = "";
});
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
  if (file) {
    event.preventDefault();
    place(file);
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
  place(event.dataTransfer.files[0]);
});

/** Put a picture on the sheet as large as it goes, around it the colour of its border. */
async function place(file) {
  if (!file) return;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    over = version;
    answer = null;
    show();
    state(`${file.name || "This"} is no picture that a browser can show: PNG, JPEG, WebP, BMP or GIF`);
    return;
  }
  const { ground, clear: transparent } = borderOf(bitmap);
  let picture = file;
  if (file.size > MOST_BYTES || !KNOWN.includes(file.type) || bitmap.width * bitmap.height > MOST_PIXELS) {
    const shrink = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
    const small = new OffscreenCanvas(...[bitmap.width, bitmap.height].map((v) => Math.max(1, Math.round(v * shrink))));
    const context = small.getContext("2d");
    context.imageSmoothingQuality = "high";
    if (transparent) {
      context.fillStyle = `rgb(${ground})`;
      context.fillRect(0, 0, small.width, small.height);
    }
    context.drawImage(bitmap, 0, 0, small.width, small.height);
    picture = await small.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  }
  const scale = Math.min(SIDE / bitmap.width, SIDE / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  state("");
  add({ kind: "picture", bitmap, picture, ground, rect: { x: (SIDE - w) / 2, y: (SIDE - h) / 2, w, h } });
}

/** The median colour of a picture's border; of a transparent one white, or black under light ink. */
function borderOf(bitmap) {
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
  if (clear) return { clear, ground: light > 128 * weight ? [0, 0, 0] : [255, 255, 255] };
  return { clear, ground: border.map((levels) => levels.sort((p, q) => p - q)[levels.length >> 1]) };
}

/** What is sent, and where its pixels lie on the sheet: a picture nobody drew on as it is, else the sheet as PNG. */
async function sent(items) {
  const last = items.at(-1);
  if (last.kind === "picture") return { picture: last.picture, rect: last.rect };
  paint(sheet.getContext("2d"), items, "#fff", "#000");
  return { picture: await sheet.convertToBlob({ type: "image/png" }), rect: { x: 0, y: 0, w: SIDE, h: SIDE } };
}

// ---- asking ----------------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(message, status, wait_s) {
    super(message);
    Object.assign(this, { status, wait_s });
  }
}

/** JSON of an answer. Throws Refused with the server's one line, or TypeError where there is no server. */
async function fetchJson(path, options = {}) {
  const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...options.headers };
  const reply = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(15_000), cache: "no-store" });
  const body = await reply.json().catch(() => ({}));
  if (reply.ok) return body;
  const hint = reply.status === 401 ? " Open the address that the server printed, with #token=… at its end." : "";
  const text = (body.error?.message ?? `the server answered ${reply.status}`) + hint;
  throw new Refused(text, reply.status, Number(reply.headers.get("Retry-After")) || 0);
}

let asking = false, failures = 0, elapsed_ms = 0, timer = null;
let asked = -1, looked = false; // the version that was answered last, and whether with where the network looked

/** Ask about the newest drawing; while a request is on its way nothing is asked, and the newest is next. */
async function ask() {
  if (asking || timer) return;
  if (over === version || (asked === version && (looked || moving))) return;
  const items = visible(), mine = version;
  if (!items.length) {
    asked = mine;
    looked = true;
    answer = null;
    show();
    return;
  }
  asking = true;
  const look = !moving || elapsed_ms < LOOK_MS;
  try {
    const { picture, rect } = await sent(items);
    const begun = performance.now();
    const count = model.classes.length || 1;
    const found = await fetchJson(`/predict?top_k=${count}&look=${look}`, {
      method: "POST",
      body: picture,
      headers: { "Content-Type": picture.type || "application/octet-stream" },
    });
    const took_ms = performance.now() - begun;
    elapsed_ms = elapsed_ms ? 0.7 * elapsed_ms + 0.3 * took_ms : took_ms;
    failures = 0;
    asked = mine;
    looked = look;
    if (mine > over) {
      if (visible().length) take(mine, picture, rect, found);
      state("");
    }
  } catch (error) {
    refused(error, mine);
  }
  asking = false;
  if (!timer) again(REST_MS);
}

function again(wait_ms) {
  timer = setTimeout(() => {
    timer = null;
    ask();
  }, wait_ms);
}

function refused(error, mine) {
  const busy = [429, 503, 504].includes(error.status);
  if (error instanceof Refused && !busy) {
    asked = mine; // this drawing has its answer: the error
    looked = true;
    answer = null;
    show();
    state(error.message);
    return;
  }
  failures += 1;
  if (!answer) show(); // it no longer asks for a drawing
  const wait_s = Math.max(error.wait_s ?? 0, Math.min(8, 0.25 * 2 ** failures));
  if (!busy) state(`The server does not answer. The drawing stays; trying again every ${Math.max(1, Math.round(wait_s))} s.`);
  else if (failures > 2) state("The server is busy; the answer comes as soon as it has time.");
  again(1000 * wait_s);
}

// ---- showing ---------------------------------------------------------------------------------------------------------

function take(mine, picture, rect, found) {
  if (chosen >= found.digits.length || answer?.found.digits.length !== found.digits.length) chosen = 0;
  const scale = rect.w / (found.size?.[0] ?? SIDE);
  answer = { version: mine, picture, place: { x: rect.x, y: rect.y, scale }, found };
  show();
}

const percent = (p) => (p > 0.9995 && p < 1 ? ">99.9" : (100 * p).toFixed(1)) + "\u00a0%";

/** Put the answer on the page: number, bars, pictures, correction. */
function show() {
  const found = answer?.found, digits = found?.digits ?? [];
  const number = $("number"), text = found?.prediction ?? "";
  number.classList.toggle("unsure", Boolean(found?.low_confidence));
  number.dataset.size = Math.min(5, Math.max(1, Math.ceil(text.length / (text.length > 4 ? 1.6 : 1))));
  const names = digits.map((digit) => digit.label ?? String(digit.value));
  if (!digits.length) number.replaceChildren(Object.assign(document.createElement("span"), { className: "none", textContent: "–" }));
  else if (digits.length === 1) number.replaceChildren(names[0]);
  else {
    const held = number.contains(document.activeElement);
    number.replaceChildren(...names.map((name, place) => digitButton(name, place, digits.length)));
    if (held) number.children[chosen]?.focus();
  }
  $("sure").textContent = sentence(found);
  bars(digits[chosen]);
  inside(digits[chosen]);
  correction(digits[chosen]);
  mark();
  speak();
}

function digitButton(name, place, count) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
  button.setAttribute("aria-label", `${name}, character ${place + 1} of ${count}`);
  button.setAttribute("aria-pressed", String(place === chosen));
  button.addEventListener("click", () => {
    chosen = place;
    show();
  });
  return button;
}

/** Why there is no digit on a sheet that is not empty. */
const nothing = () => (visible().at(-1).kind === "picture" ? "No ink found in this picture" : "Nothing to read yet");

function sentence(found) {
  if (!visible().length) return model.target ? "Draw something" : "Draw something, and it is read at once";
  if (!found) return over === version ? "Draw on, and it is read again" : "";
  if (found.reason === "empty" || !found.digits.length) return nothing();
  if (model.target) return model.target;
  const several = found.digits.length > 1;
  const sure = several ? `at least ${percent(found.probability)} sure of each` : `${percent(found.probability)} sure`;
  const notes = (found.notes ?? []).filter((note) => !note.includes("where it looked"));
  const doubt = found.low_confidence ? `Not certain: ${sure}` : sure;
  return [doubt, ...notes].join(" · ");
}

let rows = new Map(); // class -> its row

function bars(digit) {
  const all = model.classes;
  let top = digit?.top ?? [];
  const shown = all.length <= 12 ? all : top.slice(0, 10).map((entry) => entry.label);
  const list = $("bars");
  if ([...rows.keys()].join("\n") !== shown.join("\n")) {
    rows = new Map(shown.map((name) => [name, row(name)]));
    list.replaceChildren(...rows.values());
    const longest = Math.max(1, ...shown.map((name) => name.length));
    list.style.setProperty("--name", longest > 1 ? `${Math.min(9, longest * 0.6 + 0.5)}rem` : "1ch");
  }
  const values = new Map(top.map((entry) => [entry.label, entry.probability]));
  for (const [name, item] of rows) {
    const value = values.get(name) ?? 0;
    item.classList.toggle("first", Boolean(digit) && name === digit.label);
    item.querySelector(".fill").style.transform = `scaleX(${value})`;
    item.querySelector(".value").textContent = digit ? percent(value) : "";
  }
}

function row(name) {
  const item = document.createElement("li");
  for (const part of ["name", "track", "value"]) item.append(Object.assign(document.createElement("span"), { className: part }));
  item.querySelector(".name").textContent = item.querySelector(".name").title = name;
  item.querySelector(".track").append(Object.assign(document.createElement("span"), { className: "fill" }));
  item.querySelector(".track").setAttribute("aria-hidden", "true");
  return item;
}

let seen = null; // the last picture that the network saw, as a bitmap

async function inside(digit) {
  const mine = answer;
  $("inside").classList.toggle("resting", !digit);
  const context = $("seen").getContext("2d"), look = $("looked").getContext("2d");
  if (!digit) {
    for (const each of [context, look]) each.clearRect(0, 0, each.canvas.width, each.canvas.height);
    seen = null;
    return;
  }
  if (!digit.seen) return; // the pen moves on a slow machine: the last ones stay until it rests
  const bytes = Uint8Array.from(atob(digit.seen), (character) => character.charCodeAt(0));
  seen = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  if (answer !== mine) return;
  $("seen").width = seen.width;
  $("seen").height = seen.height;
  context.drawImage(seen, 0, 0);
  $("look").hidden = !digit.looked;
  if (!digit.looked) return;
  const side = look.canvas.width;
  look.imageSmoothingEnabled = false;
  look.globalAlpha = 1;
  look.fillStyle = "#000";
  look.fillRect(0, 0, side, side);
  look.globalAlpha = 0.75;
  look.drawImage(seen, 0, 0, side, side);
  look.globalAlpha = 1;
  look.imageSmoothingEnabled = true;
  look.imageSmoothingQuality = "high";
  look.drawImage(heat(digit.looked), 0, 0, side, side);
}

/** Values 0 to 1 as an amber veil, the denser the more the network looked there. */
function heat(values) {
  const [h, w] = [values.length, values[0].length];
  const canvas = new OffscreenCanvas(w, h), context = canvas.getContext("2d"), image = context.createImageData(w, h);
  values.flat().forEach((value, i) => image.data.set([255, 140 + 80 * value, 20, 235 * Math.max(0, value) ** 1.3], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

// ---- speaking: at most once a rest, so that a screen reader is not flooded --------------------------------------------

let speaking = null;

function say(text) {
  clearTimeout(speaking);
  $("spoken").textContent = text;
}

function speak() {
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const found = answer?.found;
    if (moving || pen.down || answer?.version !== version) return;
    if (!found?.digits.length) say(visible().length ? nothing() : "");
    else say(`Read ${found.prediction}, ${sentence(found)}`);
  }, 800);
}

function state(text) {
  const line = $("state");
  if (line.textContent === text) return;
  line.textContent = text;
  line.hidden = !text;
  if (text) say(text);
}

// ---- correcting --------------------------------------------------------------------------------------------------------

function key() {
  return `${answer.version} ${chosen}`;
}

/** Whether the answer is about the drawing as it is; until then it is not corrected, and its boxes are faint. */
const current = () => !moving && answer?.version === version;

function correction(digit) {
  const form = $("correct");
  form.hidden = !model.classes.length || Boolean(model.target);
  form.classList.toggle("unseen-yet", !digit?.label); // it keeps its room, so that nothing jumps
  $("thanks").hidden = true;
  if (form.hidden || !digit?.label) return;
  const several = answer.found.digits.length > 1;
  $("wrong").textContent = several
    ? `Is “${digit.label}”, ${chosen + 1} of ${answer.found.digits.length}, wrong? It is a …`
    : "Wrong? It is a …";
  const sent = told.get(key());
  for (const button of $("choices").querySelectorAll("button")) {
    const name = button.dataset.name, now = name === digit.label;
    button.classList.toggle("now", now);
    button.disabled = asking_correction || !current() || (Boolean(name) && name === sent?.name);
    if (name) button.setAttribute("aria-label", now ? `Yes, it is ${name}` : `No, it is ${name}`);
    button.title = now ? "Right as it is" : "";
    button.classList.toggle("sent", Boolean(name) && name === sent?.name);
  }
  const select = $("choices").querySelector("select");
  if (select) select.disabled = asking_correction || !current();
  const line = failed?.key === key() ? failed : sent;
  $("thanks").textContent = line?.text ?? "";
  $("thanks").classList.toggle("failed", Boolean(line) && line === failed);
  $("thanks").hidden = !line;
}

let asking_correction = false;
let failed = null; // the correction that was not kept: its key and why

function choices() {
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
        button.addEventListener("click", () => correct(name));
        return button;
      }),
    );
    return;
  }
  const select = document.createElement("select");
  select.setAttribute("aria-label", "It is a");
  select.append(new Option("…", ""), ...model.classes.map((name) => new Option(name, name)));
  const send = Object.assign(document.createElement("button"), { type: "button", textContent: "Send" });
  send.dataset.name = "";
  send.addEventListener("click", () => select.value && correct(select.value));
  box.replaceChildren(select, send);
}

/** Send what a digit is. Of one drawing the last word counts, so that a wrong key is made good by another one. */
async function correct(name) {
  if (!current() || asking_correction || told.get(key())?.name === name) return;
  const mine = key(), digit = answer.found.digits[chosen];
  asking_correction = true;
  const held = $("choices").contains(document.activeElement) ? document.activeElement : null;
  correction(digit);
  const kept = told.has(mine) ? "Changed" : "Kept";
  let text = `${kept}: it is ${name}. Wrong key? Choose again.`;
  try {
    const body = { image: await base64(answer.picture), box: digit.box ?? null, answer: digit.label, correction: name };
    const headers = { "Content-Type": "application/json" };
    await fetchJson("/corrections", { method: "POST", body: JSON.stringify(body), headers });
    told.set(mine, { name, text });
    failed = null;
  } catch (error) {
    text = `Not kept: ${error instanceof Refused ? error.message : "the server does not answer"}. Try again.`;
    failed = { key: mine, text };
  }
  asking_correction = false;
  if (answer) correction(answer.found.digits[chosen]);
  if (held) (held.disabled ? $("thanks") : held).focus({ preventScroll: true }); // what goes grey loses the focus
  say(text);
}

async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

// ---- beginning -----------------------------------------------------------------------------------------------------------

function introduce() {
  const names = model.classes;
  const digits = names.length > 0 && names.every((name) => /^\d$/.test(name));
  const few = names.length <= 12 ? names.join(", ") : `one of ${names.length} classes`;
  const title = digits ? "Draw a digit" : model.target ? "Draw something" : "Draw a picture";
  $("title").textContent = document.title = title;
  $("lead").textContent = digits || model.target ? "The network reads while you draw." : `The network tells ${few} apart.`;
  ink.setAttribute("aria-label", digits ? "Drawing area for one or several digits" : "Drawing area");
  const parts = [model.engine && `answers by ${model.engine}`];
  const accuracy = typeof model.accuracy === "number" ? model.accuracy : null;
  if (accuracy !== null) parts.push(`${(100 * accuracy).toFixed(2)} % right on its test pictures`);
  if (model.sha256) parts.push(`network ${model.sha256.slice(0, 12)}`);
  const [depth, height, width] = model.shape ?? [];
  const grey = depth === 3 ? "colours" : "grey levels";
  const size = height ? `${height} × ${width} ${grey}: all that reaches the network.` : "";
  $("form").textContent = `${size} ${model.looks === false ? "" : "Amber is what spoke most for the answer."}`.trim();
  $("look").hidden = model.looks === false;
  const line = parts.filter(Boolean).join(" · ");
  $("about").textContent = line;
  if (token) return; // a link does not carry it
  const docs = Object.assign(document.createElement("a"), { href: "/docs", textContent: "For programs" });
  $("about").append(line && " · ", docs);
}

/** Who answers; asked until there is an answer. */
async function begin(failed = 0) {
  try {
    const { classes, ...rest } = await fetchJson("/model");
    model = { ...rest, classes: classes ?? [], target: rest.target ?? null };
    state("");
    introduce();
    choices();
    asked = -1;
    ask();
  } catch (error) {
    const gone = !(error instanceof Refused);
    state(gone ? "The server does not answer. Trying again." : error.message);
    if (gone || [429, 503, 504].includes(error.status)) setTimeout(begin, Math.min(8000, 500 * 2 ** failed), failed + 1);
  }
}

new ResizeObserver(draw).observe(ink);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
still.addEventListener("change", draw);
show();
refreshTools();
begin();
