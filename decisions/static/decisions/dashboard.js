// Fetches the dashboard's contents again every ten seconds while somebody looks. What did not change stays as it is,
// with its place, its focus and what is unfolded; what cannot be fetched is said, and how old what is shown is.
"use strict";

(() => {
  const EVERY = 10_000;
  const PATIENCE = 8_000;
  const TICK = 1_000;
  const PARTS = "#headline, .panel";
  const shown = document.getElementById("dashboard");
  const news = document.getElementById("dashboard-news");
  let shownAt = performance.now();
  let triedAt = shownAt;
  let waiting = false;
  let trouble = "";

  function age() {
    const seconds = Math.round((performance.now() - shownAt) / 1000);
    return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
  }

  function tell(text, link) {
    trouble = text;
    shown.classList.toggle("dashboard-old", text !== "");
    news.replaceChildren(text);
    if (link) {
      const anchor = document.createElement("a");
      anchor.href = link;
      anchor.textContent = " Log in again.";
      news.append(anchor);
    }
  }

  function showAge() {
    const place = document.getElementById("dashboard-age");
    if (place) place.textContent = `, ${age()} ago${trouble ? "; out of date" : ""}`;
  }

  // The way to an element: the nearest id above it, and the places of the steps down from there.
  function wayTo(element) {
    const steps = [];
    let at = element;
    while (at && at !== shown && !at.id) {
      steps.unshift([...at.parentElement.children].indexOf(at));
      at = at.parentElement;
    }
    return { id: at ? at.id : "", steps };
  }

  function found(way) {
    return way.steps.reduce((at, step) => at && at.children[step], document.getElementById(way.id));
  }

  // Puts a new part in the place of the old one; what a person did to the old one is done to the new one.
  function replace(old, fresh) {
    const focused = old.contains(document.activeElement) ? wayTo(document.activeElement) : null;
    const open = [...old.querySelectorAll("details")].map((each) => each.open);
    const scrolled = [...old.querySelectorAll(".record-table")].map((each) => [each.scrollLeft, each.scrollTop]);
    old.replaceWith(fresh);
    fresh.querySelectorAll("details").forEach((each, number) => { each.open = Boolean(open[number]); });
    fresh.querySelectorAll(".record-table").forEach((each, number) => {
      [each.scrollLeft, each.scrollTop] = scrolled[number] || [0, 0];
    });
    const again = focused && found(focused);
    if (again && again.focus) again.focus({ preventScroll: true });
  }

  // The parts as the server drew them: on the page they have been unfolded and dated since.
  const drawn = new Map();

  function update(markup) {
    const fresh = new DOMParser().parseFromString(markup, "text/html");
    const parts = [...fresh.querySelectorAll(PARTS)];
    const current = [...shown.querySelectorAll(PARTS)];
    const changed = parts.filter((each) => drawn.get(each.id) !== each.outerHTML);
    changed.forEach((each) => drawn.set(each.id, each.outerHTML));
    if (parts.map((each) => each.id).join() === current.map((each) => each.id).join()) {
      changed.forEach((each) => replace(document.getElementById(each.id), document.adoptNode(each)));
    } else {
      shown.replaceChildren(...document.adoptNode(fresh.body).childNodes);
    }
  }

  async function refresh() {
    waiting = true;
    triedAt = performance.now();
    try {
      const answer = await fetch(shown.dataset.address + location.search, {
        redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(PATIENCE),
      });
      if (answer.type === "opaqueredirect" || answer.status === 403) {
        tell(`You are no longer logged in: what is shown is ${age()} old.`, location.href);
      } else if (answer.ok) {
        update(await answer.text());
        shownAt = performance.now();
        if (trouble) tell("");
      } else {
        tell(`The server answers with an error (${answer.status}): what is shown is out of date.`);
      }
    } catch {
      tell("The server cannot be reached: what is shown is out of date.");
    } finally {
      waiting = false;
      showAge();
    }
  }

  function turn() {
    showAge();
    if (!document.hidden && !waiting && performance.now() - triedAt >= EVERY) refresh();
  }

  shown.querySelectorAll(PARTS).forEach((each) => drawn.set(each.id, each.outerHTML));
  document.addEventListener("visibilitychange", turn);
  setInterval(turn, TICK);
})();
