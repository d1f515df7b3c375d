// Before anything is drawn, so that a dark page does not flash white: a classic script on purpose.
{
  const theme = localStorage.getItem("pconv-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
