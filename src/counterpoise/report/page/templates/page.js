"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const root = document.documentElement;
  const chosen = {};

  // Colours are names of custom properties ("@m0"), so that one chart serves the light and the dark theme.
  const COLOUR = /color(scale)?$/;
  function themed(value, key, style) {
    if (typeof value === "string") {
      return COLOUR.test(key) && value[0] === "@" ? style.getPropertyValue("--" + value.slice(1)).trim() : value;
    }
    if (Array.isArray(value)) return value.map((v) => themed(v, key, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, k, style)]));
    }
    return value;
  }

  function draw(element) {
    const figure = themed(charts[element.id][chosen[element.id] || 0], "", getComputedStyle(root));
    if (element.clientWidth < 480 && !figure.layout.xaxis.tickvals) figure.layout.xaxis.nticks = 5;
    // Print has no resize event after layout: give A4's width.
    if (root.dataset.theme) figure.layout.width = element.closest(".grid") ? 330 : 680;
    element.style.minHeight = figure.layout.height + "px";
    return Plotly.react(element, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  }
  const visible = () => [...document.querySelectorAll(".chart")].filter((e) => e.offsetParent !== null);
  const drawAll = (elements) => elements.forEach(draw);

  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const panels = tabs.map((tab) => document.getElementById(tab.getAttribute("aria-controls")));
  function select(index, focus) {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      panels[i].hidden = i !== index;
    });
    if (focus) tabs[index].focus();
    drawAll(visible().filter((e) => !e.classList.contains("js-plotly-plot") || e.dataset.stale));
    visible().forEach((e) => { delete e.dataset.stale; });
  }
  if (tabs.length) {
    document.querySelector('[role="tablist"]').hidden = false;
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => { select(i, false); history.replaceState(null, "", "#" + panels[i].id); });
      tab.addEventListener("keydown", (event) => {
        const last = tabs.length - 1;
        const to = { ArrowRight: i === last ? 0 : i + 1, ArrowLeft: i === 0 ? last : i - 1, Home: 0, End: last }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        select(to, true);
      });
    });
    const wanted = panels.findIndex((panel) => "#" + panel.id === location.hash);
    select(Math.max(wanted, 0), false);
  } else {
    drawAll(visible());
  }

  document.querySelectorAll("select[data-for]").forEach((choice) => {
    choice.addEventListener("change", () => {
      chosen[choice.dataset.for] = Number(choice.value);
      draw(document.getElementById(choice.dataset.for));
    });
  });

  document.querySelectorAll("select[data-gallery]").forEach((choice) => {
    const galleries = [...document.querySelectorAll(`[data-of="${choice.dataset.gallery}"]`)];
    const show = () => galleries.forEach((gallery, i) => { gallery.hidden = i !== Number(choice.value); });
    choice.addEventListener("change", show);
    show();
  });

  const filter = document.getElementById("filter");
  const rows = [...document.querySelectorAll("#numbers tbody tr")];
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });

  function refresh() {
    document.querySelectorAll(".js-plotly-plot").forEach((e) => { e.dataset.stale = "1"; });
    drawAll(visible());
    visible().forEach((e) => { delete e.dataset.stale; });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  const hidden = [];
  addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    panels.forEach((panel) => { if (panel.hidden) { hidden.push(panel); panel.hidden = false; } });
    refresh();
  });
  addEventListener("afterprint", () => {
    delete root.dataset.theme;
    hidden.splice(0).forEach((panel) => { panel.hidden = true; });
    refresh();
  });
})();
