// Elements by id, messages to the person at the page, saving files.

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new (...args: any) => T} kind
 * @returns {T}
 */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`);
  return found;
}

/** @param {string} id */
export const button = (id) => element(id, HTMLButtonElement);
/** @param {string} id */
export const input = (id) => element(id, HTMLInputElement);

const STATUS_STAYS = 7000;
let fading = 0;

/** Say something that needs no answer; screen readers say it too. @param {string} text */
export function say(text) {
  const status = element("status", HTMLParagraphElement);
  status.textContent = text;
  clearTimeout(fading);
  fading = window.setTimeout(hush, STATUS_STAYS);
}

/** What was said has been read, or is in the way. */
export function hush() {
  element("status", HTMLParagraphElement).textContent = "";
}

let counting = 0;

/**
 * Say something that stays until it is answered, closed or replaced.
 * @param {string} text
 * @param {{label: string, run: () => void, after?: number} | null} [action] after: seconds until it can be taken
 * @param {{calm?: boolean}} [options]
 */
export function warn(text, action = null, { calm = false } = {}) {
  const act = button("alert-action");
  unwarn();
  element("alert-text", HTMLParagraphElement).textContent = text;
  element("alert", HTMLDivElement).classList.toggle("alert", !calm);
  element("alert", HTMLDivElement).hidden = false;
  act.hidden = !action;
  act.onclick = () => {
    unwarn();
    action?.run();
  };
  if (!action) return;
  const until = Date.now() + 1000 * (action.after ?? 0);
  const count = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    act.disabled = left > 0;
    act.textContent = left > 0 ? `${action.label} (${left} s)` : action.label;
    if (left <= 0) clearInterval(counting);
  };
  counting = window.setInterval(count, 250);
  count();
}

export function unwarn() {
  clearInterval(counting);
  element("alert", HTMLDivElement).hidden = true;
}

/**
 * Show that something runs, for how long, and how to end it.
 * @param {string} what
 * @param {(() => void) | null} cancel
 * @returns {{step: (what: string, share: number) => void, end: () => void}} step names a part of it and how much of that
 *   is done, 0..1
 */
export function working(what, cancel) {
  const text = element("busy-text", HTMLParagraphElement);
  const bar = element("busy-bar", HTMLProgressElement);
  const stop = button("cancel-button");
  const start = performance.now();
  let share = 1;
  let part = "";
  const show = () => {
    const seconds = Math.floor((performance.now() - start) / 1000);
    const inPart = share < 1;
    text.textContent = inPart ? `${part}… ${Math.round(share * 100)} %` : `${what}… ${seconds ? `${seconds} s` : ""}`;
    if (inPart) bar.value = share;
    else bar.removeAttribute("value");
  };
  const ticking = window.setInterval(show, 250);
  stop.hidden = !cancel;
  stop.onclick = cancel;
  show();
  document.body.dataset.state = "busy";
  element("busy", HTMLDivElement).hidden = false;
  hush();
  return {
    step(named, now) {
      part = named;
      share = now;
      show();
    },
    end() {
      clearInterval(ticking);
      element("busy", HTMLDivElement).hidden = true;
    },
  };
}

/** Hand a file over to the browser's downloads. @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may still be reading it
}
