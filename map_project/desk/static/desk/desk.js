// Draws the charts of the admin pages from the JSON in the page, follows runs, and handles copy buttons.
"use strict";

(() => {
  const tones = { good: "--desk-good", bad: "--desk-bad", warn: "--desk-warn", busy: "--desk-busy" };
  const otherColors = ["#8b5cf6", "#14b8a6", "#ec4899", "#84cc16", "#94a3b8"];
  const drawn = [];

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const color = (series, at) => (tones[series.tone] ? style(tones[series.tone]) : otherColors[at % otherColors.length]);
  // Like `duration` in executions/display.py, but 1 s instead of 1.0 s.
  function formatDuration(ms) {
    if (ms < 999.5) return `${Math.round(ms)} ms`;
    if (ms < 59950) return `${+(ms / 1000).toFixed(1)} s`;
    const seconds = Math.round(ms / 1000);
    const minutes = Math.floor(seconds / 60);
    return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }
  const pad = (number) => String(number).padStart(2, "0");

  // All times are UTC.
  function formatTime(text, width, long) {
    const time = new Date(text);
    const day = `${time.getUTCDate()} ${time.toLocaleString("en", { month: "short", timeZone: "UTC" })}`;
    const hour = `${pad(time.getUTCHours())}:${pad(time.getUTCMinutes())}`;
    if (width >= 86400) return day;
    return long || width >= 21600 ? `${day} ${hour}` : hour;
  }

  function base(extra) {
    return {
      responsive: true,
      maintainAspectRatio: false,
      animation: false,
      interaction: { mode: "index", intersect: false },
      ...extra,
      plugins: {
        legend: {
          position: "bottom",
          align: "start",
          labels: { color: style("--desk-text"), usePointStyle: true, pointStyle: "circle", boxWidth: 7, boxHeight: 7, padding: 14 },
        },
        tooltip: { padding: 10, boxPadding: 5, usePointStyle: true },
        ...extra.plugins,
      },
    };
  }

  function axis(extra) {
    return {
      grid: { color: style("--desk-grid"), drawTicks: false },
      border: { display: false },
      ...extra,
      ticks: { color: style("--desk-faint"), padding: 6, maxRotation: 0, autoSkipPadding: 18, precision: 0, ...extra.ticks },
    };
  }

  // The history of the bucket that was clicked, and of one status if `status` is given.
  function openRuns(data, at, status) {
    const url = new URL(data.url, location.href);
    const end = new Date(Date.parse(data.labels[at]) + data.width * 1000);
    url.searchParams.set("created_at_from", data.labels[at].slice(0, 16));
    url.searchParams.set("created_at_to", end.toISOString().slice(0, 16));
    if (status) url.searchParams.set("status__exact", status);
    location.assign(url);
  }

  const pointer = (event, items) => (event.native.target.style.cursor = items.length ? "pointer" : "");
  const count = (number) => number.toLocaleString("en");

  function overTime(data, format) {
    return {
      scales: {
        x: axis({
          stacked: true,
          grid: { display: false },
          ticks: { callback: (_, at) => formatTime(data.labels[at], data.width) },
        }),
        y: axis({ stacked: format === count, beginAtZero: true, ticks: { callback: (value) => format(value) } }),
      },
      plugins: {
        tooltip: {
          padding: 10,
          usePointStyle: true,
          filter: (item) => item.raw !== null && item.raw !== 0,
          callbacks: {
            title: (items) => (items.length ? formatTime(data.labels[items[0].dataIndex], data.width, true) + " UTC" : ""),
            label: (item) => ` ${item.dataset.label}: ${format(item.raw)}`,
          },
        },
      },
    };
  }

  const stacked = (data) =>
    data.series.map((series, at) => ({
      label: series.label,
      data: series.values,
      backgroundColor: color(series, at),
      borderRadius: 2,
      maxBarThickness: 34,
    }));

  const kinds = {
    runs: (data) => ({
      type: "bar",
      data: { labels: data.labels, datasets: stacked(data) },
      options: base({
        datasets: { bar: { categoryPercentage: 0.92, barPercentage: 0.92 } },
        onClick: (event, items, chart) => {
          const [bar] = chart.getElementsAtEventForMode(event, "nearest", { intersect: true }, false);
          if (bar) openRuns(data, bar.index, data.series[bar.datasetIndex].label);
          else if (items.length) openRuns(data, items[0].index);
        },
        onHover: pointer,
        ...overTime(data, count),
      }),
    }),
    latency: (data) => {
      // A time without runs is a gap. The scale is logarithmic and has no 0, which is drawn as 1 ms.
      const line = (label, values, borderColor, fill) => ({
        label, data: values.map((ms) => (ms === null ? null : Math.max(ms, 1))), borderColor,
        backgroundColor: fill, pointRadius: 2, pointHoverRadius: 4, borderWidth: 2, tension: 0,
        spanGaps: false, fill: false,
      });
      const known = [...data.p50, ...data.p95].filter((ms) => ms !== null).map((ms) => Math.max(ms, 1));
      const lowest = Math.min(...known), highest = Math.max(...known);
      const label = highest / lowest > 50 ? /^10*$/ : /^[125]0*$/;
      const primary = style("--color-primary-500");
      const options = overTime(data, formatDuration);
      // Logarithmic: a timeout can take a thousand times as long as a fast response.
      options.scales.y = axis({
        type: "logarithmic",
        suggestedMin: lowest,
        ticks: { autoSkip: false, callback: (value) => (label.test(String(value)) ? formatDuration(value) : null) },
      });
      options.plugins.tooltip.callbacks.label = (item) =>
        ` ${item.dataset.label}: ${formatDuration(data[item.dataset.label][item.dataIndex])}`;
      options.onClick = (_, items) => items.length && openRuns(data, items[0].index);
      options.onHover = pointer;
      return {
        type: "line",
        data: { labels: data.labels, datasets: [line("p95", data.p95, "#f59e0b", "#f59e0b"), line("p50", data.p50, primary, primary)] },
        options: base(options),
      };
    },
    tenants: (data) => ({
      type: "bar",
      data: { labels: data.labels, datasets: stacked(data) },
      options: base({
        indexAxis: "y",
        onClick: (_, items) => items.length && location.assign(data.urls[items[0].index]),
        onHover: pointer,
        scales: {
          x: axis({ stacked: true, ticks: { callback: (value) => value.toLocaleString("en") } }),
          y: axis({
            stacked: true,
            grid: { display: false },
            ticks: {
              autoSkip: false,
              color: style("--desk-text"),
              callback: (_, at) => (data.labels[at].length > 22 ? data.labels[at].slice(0, 21) + "…" : data.labels[at]),
            },
          }),
        },
      }),
    }),
  };

  function draw() {
    const source = document.getElementById("desk-charts");
    if (!source || !window.Chart) return;
    const charts = JSON.parse(source.textContent);
    drawn.splice(0).forEach((chart) => chart.destroy());
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
      const data = charts[canvas.dataset.chart];
      if (data) drawn.push(new Chart(canvas, kinds[canvas.dataset.chart](data)));
    }
  }

  async function copy(button) {
    const text = document.querySelector(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // The clipboard API needs HTTPS; over plain HTTP, copy a selection.
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = before), 1500);
  }

  // Shows the text and the tool calls of a run while it is in progress. At its end the page is loaded again, with
  // what has been recorded.
  function follow(log) {
    const source = new EventSource(log.dataset.events);
    const on = (name, show) => source.addEventListener(`response.${name}`, (event) => show(JSON.parse(event.data)));
    let isEmpty = true;
    const append = (text) => {
      if (isEmpty) log.textContent = "";
      isEmpty = false;
      log.append(text);
    };
    const paragraph = () => (isEmpty ? "" : "\n\n");
    on("output_item.added", ({ item }) => append(item.type === "mcp_call" ? `${paragraph()}Tool call: ${item.name}` : paragraph()));
    on("output_text.delta", ({ delta }) => append(delta));
    on("mcp_call.completed", () => append(" (completed)"));
    on("mcp_call.failed", () => append(" (failed)"));
    for (const name of ["completed", "incomplete", "failed", "cancelled"]) {
      on(name, () => {
        source.close();
        location.reload();
      });
    }
  }

  window.addEventListener("load", () => {
    draw();
    document.querySelectorAll("[data-events]").forEach(follow);
    let dark = document.documentElement.classList.contains("dark");
    new MutationObserver(() => {
      const now = document.documentElement.classList.contains("dark");
      if (now !== dark) {
        dark = now;
        draw();
      }
    }).observe(document.documentElement, { attributeFilter: ["class"] });
  });
  // A check box that selects all rows of its table.
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-select-all]")) return;
    const boxes = event.target.closest("table").querySelectorAll("tbody input[type=checkbox]");
    boxes.forEach((box) => (box.checked = event.target.checked));
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });
})();
