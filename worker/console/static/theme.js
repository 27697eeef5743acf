// Before the page is drawn: the theme that somebody chose, if they did.
const chosen = localStorage.getItem("tenure-theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
