// The change feed. Whatever comes is text, and is put into the page as text.
const KEPT = 300;
const SHORT = ["When", "Change", "State"];

const box = document.getElementById("live");
const feed = document.getElementById("feed");
const state = document.getElementById("live-state");
const pause = document.getElementById("pause");
const seen = new Set([...feed.querySelectorAll("[data-event]")].map((row) => row.dataset.event));

let after = box.dataset.after;
let waiting = [];
let paused = false;
let stream;

function visible(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "\ufffd");
}

function element(name, text, classes = "") {
  const made = document.createElement(name);
  made.textContent = visible(text);
  if (classes) made.className = classes;
  return made;
}

function cell(label, ...parts) {
  const made = document.createElement("td");
  made.dataset.label = label;
  if (SHORT.includes(label)) made.className = "short";
  for (const part of parts) made.append(part, " ");
  return made;
}

function row(change) {
  const made = document.createElement("tr");
  made.dataset.row = "";
  made.dataset.event = change.event_id;
  made.className = "new";
  const time = element("time", change.at.slice(0, 19).replace("T", " "));
  time.dateTime = change.at;
  const policy = element("a", change.policy_id, "id");
  policy.href = `${box.dataset.policy}?${new URLSearchParams({ id: change.policy_id })}`;
  const reasons = change.reasons.map((name) => element("span", name, "reason"));
  made.append(
    cell("When", time),
    cell("Change", visible(change.type.replace("policy.", ""))),
    cell("Policy", policy, element("small", change.repository)),
    cell("State", element("span", change.state, `state ${change.state}`)),
    cell("Reasons", ...(reasons.length ? reasons : [element("span", "–", "none")])),
    cell("Cause", visible(change.cause)),
  );
  return made;
}

function add(change) {
  feed.querySelector(".empty")?.remove();
  const made = row(change);
  feed.prepend(made);
  setTimeout(() => made.classList.remove("new"), 1500);
  while (feed.rows.length > KEPT) feed.lastElementChild.remove();
}

function tell(text) {
  if (state.textContent !== text) state.textContent = text;
}

function running() {
  tell(paused ? `Paused${waiting.length ? `, ${waiting.length} waiting` : ""}` : "Live");
}

function address() {
  return `${box.dataset.stream}?${new URLSearchParams({ after })}`;
}

function open() {
  stream = new EventSource(address());
  stream.addEventListener("open", running);
  stream.addEventListener("change", (event) => {
    const change = JSON.parse(event.data);
    after = event.lastEventId;
    if (seen.has(change.event_id)) return;
    seen.add(change.event_id);
    if (paused) {
      waiting.push(change);
      if (waiting.length > KEPT) waiting.shift();
    } else {
      add(change);
    }
    running();
  });
  stream.addEventListener("gap", () => tell("More was published than is shown here: reload for the newest"));
  stream.addEventListener("store", (event) => {
    if (event.data === "stalled") tell("The store does not answer; what is published meanwhile will follow");
    else running();
  });
  stream.addEventListener("error", () => {
    tell("Not connected, trying again");
    if (stream.readyState === EventSource.CLOSED) refused();
  });
}

// A browser does not say why a stream was refused; it is asked once more, plainly.
async function refused() {
  const left = new AbortController();
  try {
    const answer = await fetch(address(), { signal: left.signal });
    left.abort();
    if (answer.status === 401) {
      tell("Your session has ended: reload and log in");
      return;
    }
  } catch {
    // Nobody answers: try again.
  }
  setTimeout(open, 3000);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Resume" : "Pause";
  if (!paused) {
    waiting.forEach(add);
    waiting = [];
  }
  running();
});

addEventListener("pagehide", () => stream.close());
addEventListener("pageshow", (event) => {
  if (event.persisted) open();
});
open();
