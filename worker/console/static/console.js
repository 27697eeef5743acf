// What every page has: the theme's button, the keys, and pages that stay fresh.
import { listen } from "./keys.js";
import { pulse, refresh } from "./fresh.js";

const THEMES = ["auto", "light", "dark"];
const theme = document.getElementById("theme");

function show() {
  theme.textContent = `Theme: ${document.documentElement.dataset.theme ?? "auto"}`;
}

theme.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (next === "auto") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("tenure-theme");
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem("tenure-theme", next);
  }
  show();
});

show();
theme.hidden = false;
listen();
refresh();
pulse();
