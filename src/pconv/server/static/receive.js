// Photos that are dropped on the page or pasted into it.

import { element, warn } from "./ui.js";

/** @param {import("./app.js").App} app */
export function receivePhotos(app) {
  const target = element("drop-target", HTMLDivElement);
  let inside = 0; // dragenter and dragleave come for every element on the way

  /** @param {DataTransfer | null} data @param {string} how */
  const take = (data, how) => {
    const file = data?.files[0];
    if (file) app.open(file, file.name || "pasted.png").then(() => app.view.stage.focus());
    else warn(`There is no photo in what was ${how}.`);
  };
  const holdsFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;

  document.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    inside++;
    target.hidden = false;
  });
  document.addEventListener("dragover", (event) => {
    if (holdsFiles(event)) event.preventDefault();
  });
  document.addEventListener("dragleave", () => {
    inside = Math.max(0, inside - 1);
    if (!inside) target.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // the browser would show the file instead of the page
    inside = 0;
    target.hidden = true;
    take(event.dataTransfer, "dropped");
  });
  document.addEventListener("paste", (event) => {
    if (event.target instanceof HTMLInputElement && !event.clipboardData?.files.length) return;
    take(event.clipboardData, "pasted");
  });
}
