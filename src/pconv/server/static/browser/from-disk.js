// Browsers load no modules from file:// addresses, so this script, which is none, says what to do.
if (location.protocol === "file:") {
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("alert-text").textContent =
      "This page was opened from a file, and browsers start it only from a web server. In its folder, run: python3 -m http.server, then open http://localhost:8000.";
    document.getElementById("alert").hidden = false;
  });
}
