function time() {
  return new Date().toISOString().slice(11, 19);
}

// A page that asks for it is read again every few seconds, while somebody looks at it and nothing in it has the focus.
export function refresh() {
  const part = document.querySelector("[data-refresh]");
  if (part === null) return;
  const told = document.getElementById("freshness");
  const timer = setInterval(async () => {
    const now = document.getElementById(part.id);
    if (document.hidden) return;
    if (now.contains(document.activeElement) || now.querySelector("details[open]")) {
      told.textContent ||= `Not read again since ${time()} UTC, while you are in it.`;
      return;
    }
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(9000) });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
      if (fresh === null) throw new Error("another page");
      now.replaceWith(fresh);
      if (!fresh.hasAttribute("data-refresh")) clearInterval(timer);
      told.textContent = "";
    } catch {
      told.textContent ||= `Not read again since ${time()} UTC: Tenure does not answer as usual.`;
    }
  }, Number(part.dataset.refresh) * 1000);
}

const PULSE_MS = 750;
const PATIENCE_MS = 1500;

// A page with a place for it asks again and again whether the store answers, and says so within 3 s if it does not.
export function pulse() {
  const told = document.getElementById("pulse");
  if (told === null) return;
  let asking = false;
  setInterval(async () => {
    if (document.hidden || asking) return;
    asking = true;
    try {
      const answer = await fetch("/console/pulse", { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!answer.ok) throw new Error("no answer of the store's");
      told.hidden = true;
    } catch {
      if (told.hidden) told.textContent = `The store has not answered since ${time()} UTC. What is shown here is older.`;
      told.hidden = false;
    }
    asking = false;
  }, PULSE_MS);
}
