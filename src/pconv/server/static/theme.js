// Before anything is drawn, so that a dark page does not flash white: a classic script on purpose.
{
  let theme = null;
  try {
    theme = localStorage.getItem("pconv-theme");
  } catch {
    // forbidden: as the system has it
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
