// The server's token, asked for where the page's address did not bring it.

import { setToken } from "./api.js";
import { element, input, warn } from "./ui.js";

/**
 * Say that the token is missing or wrong, and offer to enter it.
 * @param {string} text
 * @param {() => void} then what to do once there is one
 */
export function wantToken(text, then) {
  const dialog = element("token-dialog", HTMLDialogElement);
  const field = input("token-field");
  dialog.onclose = () => {
    const token = field.value.trim();
    field.value = "";
    if (dialog.returnValue !== "enter" || !token) return;
    setToken(token);
    then();
  };
  warn(text, {
    label: "Enter the token",
    run() {
      dialog.returnValue = "";
      dialog.showModal();
    },
  });
}
