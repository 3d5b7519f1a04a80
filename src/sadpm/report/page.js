"use strict";
// Everything shown is in the page already: this sorts rows, and shows the long table's rows behind a number.

const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last, either way
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? collator.compare(a, b) : x - y;
}

function sortBy(button) {
  const head = button.closest("th");
  const body = head.closest("table").tBodies[0];
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const valueOf = (row) => row.cells[head.cellIndex].dataset.value || "";
  const sorted = [...body.rows].sort((a, b) => {
    const [x, y] = [valueOf(a), valueOf(b)];
    return falling && x !== "" && y !== "" ? compare(y, x) : compare(x, y);
  });
  body.append(...sorted);
  document.getElementById("said").textContent = `Sorted by ${button.textContent}, ${falling ? "falling" : "rising"}`;
}

// What is asked first of a number; all other columns follow as they are in the CSV.
const FIRST = ["seed", "value", "standard_error", "n", "recipe", "device", "seconds"];

const detail = document.getElementById("detail");
let pinned = null;
let shown = null;
let pointer = [NaN, NaN];
let closedAt = pointer; // a number that closing uncovers below a pointer at rest was not pointed at

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function line(name, cells) {
  const row = element("tr");
  const head = element("th", name);
  head.scope = "row";
  row.append(head, ...cells);
  return row;
}

function commandsOf(row) {
  const cell = element("td");
  const made = row.dataset.job && document.getElementById(row.dataset.job);
  if (!made) return element("td", "missing");
  const link = element("a", "all commands");
  link.href = `#${made.id}`;
  link.addEventListener("click", () => { made.open = true; });
  cell.append(element("code", made.querySelector("pre").textContent), " ", link);
  return cell;
}

function show(number) {
  if (shown === number) return;
  shown = number;
  const table = document.getElementById(`rows-${number.dataset.table}`);
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const rows = number.dataset.rows.split(" ").map((at) => document.getElementById(`row-${number.dataset.table}-${at}`));
  document.getElementById("detail-title").textContent = number.dataset.title;
  document.getElementById("detail-about").textContent = number.dataset.about;
  const seeds = element("table");
  const rest = names.filter((name) => !FIRST.includes(name) && name !== "table");
  for (const name of [...FIRST.filter((known) => names.includes(known)), ...rest]) {
    const column = names.indexOf(name);
    seeds.append(line(name, rows.map((row) => element("td", row.cells[column].textContent))));
  }
  seeds.append(line("command", rows.map(commandsOf)));
  document.getElementById("detail-body").replaceChildren(seeds);
  // In the other half of the window than the number, which it must not hide.
  detail.classList.toggle("above", number.getBoundingClientRect().top > window.innerHeight / 2);
  detail.hidden = false;
}

function close() {
  if (pinned) pinned.setAttribute("aria-expanded", "false");
  const back = detail.contains(document.activeElement) ? shown : null;
  pinned = shown = null;
  detail.hidden = true;
  closedAt = pointer;
  if (back) { back.focus(); close(); }
}

function pin(number) {
  const again = pinned === number;
  if (pinned) pinned.setAttribute("aria-expanded", "false");
  pinned = null;
  if (again) return close();
  show(number);
  pinned = number;
  number.setAttribute("aria-expanded", "true");
}

for (const button of document.querySelectorAll(".sort")) button.addEventListener("click", () => sortBy(button));
for (const number of document.querySelectorAll(".number")) {
  number.setAttribute("aria-expanded", "false");
  number.setAttribute("aria-controls", "detail");
  number.addEventListener("mouseenter", (event) => {
    if (!pinned && !(event.screenX === closedAt[0] && event.screenY === closedAt[1])) show(number);
  });
  number.addEventListener("focus", () => { if (!pinned) show(number); });
  number.addEventListener("click", () => pin(number));
}
document.addEventListener("pointermove", (event) => { pointer = [event.screenX, event.screenY]; });
document.getElementById("detail-close").addEventListener("click", close);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !detail.hidden) close(); });
