// Tabs of a record's page, by the pattern of the ARIA Authoring Practices: arrows, Home and End go from tab to tab. The
// sections are there without it, one below another; the page's address names the tab that is shown.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".record-tabs").forEach((tabs) => {
    const panels = [...tabs.querySelectorAll(":scope > .record-tab")];
    const list = document.createElement("div");
    list.className = "record-tablist";
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", "Parts of the record");

    const buttons = panels.map((panel) => {
      const button = document.createElement("button");
      button.type = "button";
      button.id = `${panel.id}-button`;
      button.textContent = panel.dataset.title;
      button.setAttribute("role", "tab");
      button.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", button.id);
      list.append(button);
      return button;
    });

    const show = (place) => panels.forEach((panel, each) => {
      panel.hidden = each !== place;
      buttons[each].setAttribute("aria-selected", String(each === place));
      buttons[each].tabIndex = each === place ? 0 : -1;
    });
    const choose = (place) => {
      show(place);
      buttons[place].focus();
      history.replaceState(null, "", `#${panels[place].id}`);
    };
    const named = () => {
      const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
      return panels.findIndex((panel) => target && panel.contains(target));
    };

    list.addEventListener("click", (event) => {
      const place = buttons.indexOf(event.target.closest("button"));
      if (place >= 0) choose(place);
    });
    list.addEventListener("keydown", (event) => {
      const now = buttons.indexOf(document.activeElement);
      const last = buttons.length - 1;
      const next = { ArrowRight: now === last ? 0 : now + 1, ArrowLeft: now === 0 ? last : now - 1, Home: 0, End: last }[event.key];
      if (now < 0 || next === undefined) return;
      event.preventDefault();
      choose(next);
    });
    addEventListener("hashchange", () => { if (named() >= 0) show(named()); });

    tabs.classList.add("record-scripted");
    tabs.prepend(list);
    show(Math.max(named(), 0));
  });
});
