// The rows of the playbook's form: add, remove, put back, move. The server reads the order and the ticks of the plain
// inputs, which this hides; without it they can be typed.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".playbook-form");
  if (!form) return;

  const rowsOf = (list) => [...list.querySelectorAll(":scope > [data-row]")];
  const ordered = (list) => rowsOf(list).forEach((row, place) => { row.querySelector("[name$=-ORDER]").value = place + 1; });
  const ready = (within) => within.querySelectorAll("[data-move], [data-remove], [data-add]").forEach((button) => { button.hidden = false; });

  const add = (name) => {
    const list = form.querySelector(`[data-rows="${name}"]`);
    const total = form.querySelector(`[name="${name}-TOTAL_FORMS"]`);
    const blank = form.querySelector(`[data-blank="${name}"]`).innerHTML.replaceAll("__prefix__", total.value);
    list.insertAdjacentHTML("beforeend", blank);
    total.value = Number(total.value) + 1;
    const row = list.lastElementChild;
    ready(row);
    ordered(list);
    row.querySelector("input:not([type=hidden]), select, textarea").focus();
  };

  const move = (button) => {
    const row = button.closest("[data-row]");
    const other = button.dataset.move === "up" ? row.previousElementSibling : row.nextElementSibling;
    if (!other) return;
    if (button.dataset.move === "up") other.before(row); else other.after(row);
    ordered(row.parentElement);
    button.focus();
  };

  const remove = (button) => {
    const row = button.closest("[data-row]");
    const gone = row.classList.toggle("playbook-removed");
    row.querySelector("[name$=-DELETE]").checked = gone;
    button.textContent = gone ? "Put back" : "Remove";
    button.setAttribute("aria-pressed", String(gone));
  };

  form.classList.add("playbook-scripted");
  ready(form);
  form.querySelectorAll("[data-rows]").forEach((list) => { if (list.querySelector("[name$=-ORDER]")) ordered(list); });
  form.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.add) add(button.dataset.add);
    if (button.dataset.move) move(button);
    if (button.hasAttribute("data-remove")) remove(button);
  });
});
