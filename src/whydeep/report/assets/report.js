// Draws the figures: plain plotly data in which colours are names of the style sheet.
(() => {
  "use strict";
  const groups = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const touch = matchMedia("(pointer: coarse)");

  const style = () => getComputedStyle(document.body);
  const coloured = (value, css) => {
    if (typeof value === "string") {
      return value.replace(/var\((--[\w-]+)\)/g, (_, name) => css.getPropertyValue(name).trim());
    }
    if (Array.isArray(value)) return value.map((v) => coloured(v, css));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, css)]));
    }
    return value;
  };

  const layoutOf = (given, css) => {
    const axis = {
      gridcolor: "var(--grid)", linecolor: "var(--line)", zerolinecolor: "var(--line)",
      automargin: true, ticks: "", fixedrange: touch.matches,
      title: { standoff: 10, font: { size: 13 } },
    };
    const layout = {
      font: { family: css.fontFamily, size: 12.5, color: "var(--ink)" },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 58, r: 18, t: 12, b: 40 },
      hovermode: "x unified",
      hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--line)",
                    font: { color: "var(--ink)" } },
      dragmode: touch.matches ? false : "zoom",
      legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom",
                font: { size: 12 }, tracegroupgap: 0 },
      ...given,
    };
    for (const key of ["xaxis", "yaxis"]) {
      const own = given[key] || {};
      layout[key] = { ...axis, ...own, title: { ...axis.title, ...(own.title || {}) } };
    }
    return coloured(layout, css);
  };

  const config = {
    responsive: true, displaylogo: false, scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" },
  };

  // On a narrow screen a row is a list of what the columns are called and what they hold.
  const titles = [...document.querySelectorAll("thead th")].map((th) => th.textContent);
  for (const row of document.querySelectorAll("tbody tr:not(.head)")) {
    [...row.cells].forEach((cell, k) => {
      const held = document.createElement("span");
      held.className = "cell";
      held.append(...cell.childNodes);
      cell.append(held);
      cell.dataset.label = titles[k] || "";
    });
  }

  const drawings = [];
  for (const [name, group] of Object.entries(groups)) {
    const section = document.getElementById(name);
    const state = { chosen: 0 };
    const draw = () => {
      const css = style();
      section.querySelectorAll(".plot").forEach((element) => {
        const figures = group.plots[Number(element.dataset.plot)];
        const figure = figures[Math.min(state.chosen, figures.length - 1)];
        Plotly.react(element, coloured(figure.data, css), layoutOf(figure.layout, css),
                     { ...config, displayModeBar: narrow.matches ? false : "hover" });
      });
    };
    controls(section.querySelector(".controls"), group, state, draw);
    drawings.push(draw);
    draw();
  }
  const redraw = () => drawings.forEach((draw) => draw());
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
  // On paper, ink on white.
  addEventListener("beforeprint", redraw);

  function controls(place, group, state, draw) {
    if (group.options.length < 2) return;
    if (group.options.length > 4) {
      const label = document.createElement("label");
      label.textContent = group.label + " ";
      const select = document.createElement("select");
      group.options.forEach((option, index) => select.add(new Option(option, String(index))));
      select.addEventListener("change", () => { state.chosen = Number(select.value); draw(); });
      label.append(select);
      place.append(label);
      return;
    }
    const label = document.createElement("span");
    label.textContent = group.label;
    place.append(label);
    const buttons = group.options.map((option, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = option;
      button.setAttribute("aria-pressed", String(index === 0));
      button.addEventListener("click", () => {
        state.chosen = index;
        buttons.forEach((b, k) => b.setAttribute("aria-pressed", String(k === index)));
        draw();
      });
      place.append(button);
      return button;
    });
  }

  const copy = document.getElementById("copy");
  copy.addEventListener("click", async () => {
    const code = document.getElementById("command");
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });
  document.body.dataset.drawn = "yes";
})();
