// Keys: / searches the page, or everything; j and k walk through a list, g and a letter go to a page, ? tells all of them.
const SOON = 1200;

let going = 0;

function typing(target) {
  return target.closest("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

function walk(step) {
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const row = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1)];
  if (row === undefined) return;
  const target = row.querySelector("a, button") ?? row;
  if (target === row) row.tabIndex = -1;
  target.focus();
  row.scrollIntoView({ block: "nearest" });
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (document.querySelector("dialog[open]") !== null) return;
  if (Date.now() < going) {
    going = 0;
    const where = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    if (where !== null) where.click();
    return;
  }
  const acts = {
    "/": () => (document.querySelector("[data-search]") ?? document.querySelector("[data-find]"))?.focus(),
    j: () => walk(1),
    k: () => walk(-1),
    g: () => { going = Date.now() + SOON; },
    p: () => document.getElementById("pause")?.click(),
    x: () => document.activeElement.closest?.("[data-row]")?.querySelector("input[type=checkbox]")?.click(),
    "?": () => document.getElementById("keys")?.showModal(),
  };
  if (!Object.hasOwn(acts, event.key)) return;
  event.preventDefault();
  acts[event.key]();
}

export function listen() {
  document.addEventListener("keydown", press);
  const all = document.querySelector("[data-all-of]");
  if (all !== null) {
    all.hidden = false;
    all.querySelector("input").addEventListener("change", (event) => {
      for (const box of document.getElementsByName(all.dataset.allOf)) box.checked = event.target.checked;
    });
  }
  const button = document.getElementById("show-keys");
  if (button === null) return;
  button.hidden = false;
  button.addEventListener("click", () => document.getElementById("keys").showModal());
}
