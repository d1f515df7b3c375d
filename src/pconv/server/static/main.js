// The page's start: makes the parts and ties them to the elements of index.html.

import { ApiError, adoptToken } from "./api.js";
import { App } from "./app.js";
import { Compare } from "./compare.js";
import { Editor } from "./editor.js";
import { engine } from "./engine.js";
import { keep } from "./kept.js";
import { Keyboard } from "./keyboard.js";
import { receivePhotos } from "./receive.js";
import { Painter } from "./painter.js";
import { Pointers } from "./pointer.js";
import { Storage } from "./storage.js";
import { wantToken } from "./token.js";
import { button, element, hush, input, say, unwarn, warn } from "./ui.js";
import { View } from "./view.js";

/** @typedef {import("./painter.js").Tool} Tool */

adoptToken();

const storage = new Storage();
const editor = new Editor(storage);
const painter = new Painter(editor);
const stage = element("stage", HTMLDivElement);
const view = new View(stage, element("photo-canvas", HTMLCanvasElement), element("mask-canvas", HTMLCanvasElement));
const app = new App(editor, painter, view, engine);
const pointers = new Pointers(view, painter);
const compare = new Compare(app, element("wipe", HTMLDivElement), button("compare-button"));
const help = element("help-dialog", HTMLDialogElement);
const ring = element("ring", HTMLDivElement);
const tools = [...element("tools", HTMLDivElement).querySelectorAll("button")];

// What buttons show and allow.

app.onState = () => {
  const { opened, history, map, version } = editor;
  document.body.dataset.state = app.busy ? "busy" : opened ? "ready" : "empty";
  document.body.dataset.version = String(version);
  document.title = opened ? `${editor.name} – pconv` : "pconv";
  element("photo-name", HTMLParagraphElement).textContent = editor.name;
  button("undo-button").disabled = !app.idle || !history.canUndo;
  button("redo-button").disabled = !app.idle || !history.canRedo;
  button("clear-button").disabled = !app.idle || !map.count;
  button("fill-button").disabled = !app.idle;
  button("fill-button").classList.toggle("waiting", !map.count);
  button("another-button").disabled = !app.canFillAgain;
  button("compare-button").disabled = !compare.possible;
  button("download-button").disabled = !app.idle;
  input("size").value = String(Math.round((100 * Math.log(painter.size)) / Math.log(painter.largest)));
  input("size").setAttribute("aria-valuetext", `${painter.size} pixels`);
  compare.update();
  watchSaving();
};

/** Tests, and whoever looks into a page that lost something, see here whether all is saved. */
function watchSaving() {
  document.body.dataset.saved = "false";
  const { queue } = storage;
  queue.then(() => {
    if (storage.queue === queue) document.body.dataset.saved = "true";
  });
}

// Tools and their size.

/** @param {Tool} tool */
function choose(tool) {
  painter.cancel();
  painter.tool = tool;
  for (const each of tools) {
    each.setAttribute("aria-checked", String(each.dataset.tool === tool));
    each.tabIndex = each.dataset.tool === tool ? 0 : -1;
  }
  stage.dataset.cursor = tool === "hand" ? "move" : painter.round ? "ring" : "shape";
  showRing(null);
}

for (const [i, each] of tools.entries()) {
  each.addEventListener("click", () => choose(/** @type {Tool} */ (each.dataset.tool)));
  each.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: tools.length - 1 }[event.key];
    if (to === undefined) return;
    const other = tools[(to + tools.length) % tools.length];
    other.click();
    other.focus();
    event.preventDefault();
  });
}

/** @param {number} size */
function resize(size) {
  painter.size = Math.min(painter.largest, Math.max(1, Math.round(size)));
  app.onState();
  showRing(hovered);
}

/** @param {number} direction 1 or -1 */
function resizeBy(direction) {
  const { size } = painter;
  resize(direction > 0 ? Math.max(size + 1, Math.floor(size * 1.15)) : Math.min(size - 1, Math.ceil(size / 1.15)));
}

input("size").addEventListener("input", () => {
  resize(painter.largest ** (Number(input("size").value) / 100));
  showRing({ x: view.width / 2, y: view.height / 2 });
});

/** @type {import("./shapes.js").Point | null} */
let hovered = null;

/** The brush's outline at a place of the stage. @param {import("./shapes.js").Point | null} at */
function showRing(at) {
  hovered = at;
  const cursor = keyboard?.cursor ? view.toStage(keyboard.cursor) : null;
  const place = cursor ?? (painter.round ? at : null);
  ring.hidden = !place || (pointers.active?.does === "pan" && !cursor);
  if (!place) return;
  const diameter = painter.round ? Math.max(3, painter.size * view.scale) : 9;
  ring.style.width = ring.style.height = `${diameter}px`;
  ring.style.transform = `translate(${place.x - diameter / 2}px, ${place.y - diameter / 2}px)`;
  ring.classList.toggle("erases", painter.tool === "eraser");
  ring.classList.toggle("keyboard", cursor !== null);
  ring.classList.toggle("lowered", cursor !== null && painter.down);
}

/** @param {import("./shapes.js").Point[]} points of the photo */
function showOutline(points) {
  const places = points.map((point) => view.toStage(point));
  const path = places.length ? `M${places.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}Z` : "";
  for (const each of document.querySelectorAll("#outline path")) each.setAttribute("d", path);
}

painter.onPaint = (/** @type {import("./holes.js").Box | null} */ box) => view.redrawMask(box);
painter.onOutline = showOutline;
pointers.mayPaint = () => app.idle;
pointers.onPut = hush;
pointers.onLift = () => app.onState();
pointers.onHover = showRing;
pointers.onSize = resizeBy;
view.onMove = () => {
  element("zoom-value", HTMLOutputElement).value = `${Math.round(view.scale * 100)}%`;
  if (painter.down && !painter.round) showOutline(painter.outline);
  showRing(hovered);
};

// Buttons and keys.

const photoInput = input("photo-input");
const maskInput = input("mask-input");
photoInput.addEventListener("change", () => {
  const file = photoInput.files?.[0];
  if (file) app.open(file, file.name).then(() => stage.focus());
  photoInput.value = ""; // so that the same file can be chosen again
});
maskInput.addEventListener("change", () => {
  const file = maskInput.files?.[0];
  if (file) app.importMask(file);
  maskInput.value = "";
});

async function openSample() {
  const response = await fetch(new URL("sample.jpg", import.meta.url)).catch(() => null);
  if (!response?.ok) return warn(`The sample photo does not arrive. ${engine.advice}`);
  await app.open(await response.blob(), "cat.jpg");
  stage.focus();
}

function growByInput() {
  const by = input("grow-by");
  if (by.reportValidity()) app.grow(by.valueAsNumber);
}

const THEMES = ["auto", "light", "dark"];
function theme() {
  return document.documentElement.dataset.theme ?? "auto";
}
function nextTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  keep("localStorage", "pconv-theme", next);
  nameTheme();
  say({ auto: "Colours as your system has them.", light: "Light colours.", dark: "Dark colours." }[next] ?? "");
}
function nameTheme() {
  button("theme-button").title = `Colours: ${theme()}`;
  button("theme-button").setAttribute("aria-label", `Colours: ${theme()}; press for others`);
}

/** @type {Record<string, () => void>} */
const clicks = {
  "open-button": () => photoInput.click(),
  "welcome-open": () => photoInput.click(),
  "sample-button": openSample,
  "download-button": () => app.download(),
  "theme-button": nextTheme,
  "help-button": () => help.showModal(),
  "undo-button": () => app.undo(),
  "redo-button": () => app.redo(),
  "clear-button": () => app.clear(),
  "fill-button": () => app.fill(),
  "another-button": () => app.fillAgain(),
  "import-button": () => maskInput.click(),
  "export-button": () => app.exportMask(),
  "alert-close": unwarn,
  "zoom-in": () => view.zoom(1.25),
  "zoom-out": () => view.zoom(0.8),
  "zoom-fit": () => view.fit(),
  "zoom-actual": () => view.zoom(1 / view.scale),
};
for (const [id, run] of Object.entries(clicks)) button(id).addEventListener("click", run);

const keyboard = new Keyboard(app, pointers, {
  o: () => photoInput.click(),
  b: () => choose("brush"),
  e: () => choose("eraser"),
  r: () => choose("rectangle"),
  l: () => choose("lasso"),
  h: () => choose("hand"),
  "[": () => resizeBy(-1),
  "]": () => resizeBy(1),
  f: () => app.fill(),
  a: () => app.fillAgain(),
  g: growByInput,
  d: () => app.download(),
  i: () => app.idle && maskInput.click(),
  m: () => app.exportMask(),
  w: () => compare.toggle(),
  "+": () => view.zoom(1.25),
  "=": () => view.zoom(1.25),
  "-": () => view.zoom(0.8),
  0: () => view.fit(),
  1: () => view.zoom(1 / view.scale),
  Delete: () => app.clear(),
  Backspace: () => app.clear(),
  Escape: () => app.cancel(),
  "?": () => help.showModal(),
});
keyboard.onCursor = () => {
  stage.dataset.cursor = pointers.space ? "move" : painter.tool === "hand" ? "move" : painter.round ? "ring" : "shape";
  showRing(hovered);
};
keyboard.onPeek = (/** @type {boolean} */ show) => compare.peek(show);

element("grow-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  growByInput();
});
input("opacity").addEventListener("input", () => (view.mask.style.opacity = String(Number(input("opacity").value) / 100)));
input("feather").addEventListener("change", () => {
  if (input("feather").reportValidity()) app.feather = input("feather").valueAsNumber;
});
const format = element("format", HTMLSelectElement);
for (const option of [...format.options]) {
  if (!engine.formats.some((known) => known === option.value)) option.remove();
}
element("privacy", HTMLParagraphElement).textContent = engine.privacy;
format.addEventListener("change", () => (app.format = format.value === "png" ? "png" : "same"));

receivePhotos(app);

// The start.

view.mask.style.opacity = "0.6";
nameTheme();
choose("brush");
storage.onFail = (/** @type {unknown} */ error) => {
  console.error(error);
  warn("This browser cannot keep your work across a reload (its storage is full or switched off); download before you close the page.");
};

async function learn() {
  try {
    const info = await engine.info();
    app.info = info;
    input("grow-by").max = String(info.options.grow.maximum);
    input("feather").max = String(info.options.feather.maximum);
    app.onState();
    const on = `${info.backend} on ${info.device}`;
    element("about", HTMLSpanElement).textContent = `pconv ${info.version}, model ${info.model}, ${on}.`;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) wantToken(error.message, learn);
    else warn(error instanceof Error ? error.message : String(error));
  }
}
learn();

storage.open().then(
  async (saved) => {
    if (saved) await app.restore(saved);
    document.body.dataset.started = "true";
  },
  (error) => {
    storage.onFail(error);
    document.body.dataset.started = "true";
  },
);
