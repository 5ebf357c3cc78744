// What pages do beyond htmx: the pulse, the theme, the keys, and panels that failed.
"use strict";
(() => {
  const PULSE_MS = 4000;
  const $ = (selector) => document.querySelector(selector);
  const send = (name) => htmx.trigger(document.body, name);
  let answered = new Date();

  // Hidden tabs ask nothing; one that is looked at again asks at once.
  const pulse = () => { if (!document.hidden) send("pulse"); };
  setInterval(pulse, PULSE_MS);
  document.addEventListener("visibilitychange", pulse);

  const stale = (is) => {
    const banner = $("#stale");
    if (!banner) return;
    if (is && banner.hidden) banner.querySelector("time").textContent = answered.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    banner.hidden = !is;
  };
  const isRefresh = (detail) => {
    const cause = detail.requestConfig.triggeringEvent;
    return cause && (cause.type === "fresh" || cause.type === "pulse");
  };
  const failed = (event) => {
    const { target, requestConfig } = event.detail;
    if (isRefresh(event.detail)) return stale(true);
    if (target && target.classList.contains("panel") && requestConfig) {
      target.replaceChildren($("#broken").content.cloneNode(true));
    }
  };

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target } = event.detail;
    if (xhr.status < 400) {
      if (target.id === "pulse") { answered = new Date(); stale(false); }
      return;
    }
    // Old figures beat none; and what a proxy says is no fragment of ours.
    if (isRefresh(event.detail) || target.id === "pulse") { event.detail.shouldSwap = false; stale(true); }
    else if (!xhr.getResponseHeader("X-Fragment")) { event.detail.shouldSwap = false; failed(event); }
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.target.id === "pulse" && detail.xhr.status === 204) { answered = new Date(); stale(false); }
  });
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    const cause = detail.triggeringEvent;
    if (cause && (cause.type === "fresh" || cause.type === "pulse")) detail.headers["X-Background"] = "1";
  });
  document.addEventListener("htmx:sendError", failed);
  document.addEventListener("htmx:timeout", failed);

  document.body.addEventListener("theme", ({ detail }) => {
    document.documentElement.dataset.theme = detail.value;
    document.dispatchEvent(new Event("footfall:theme"));
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (!button) return closePopovers(event.target);
    if (button.dataset.do === "retry") htmx.trigger(button.closest(".panel"), "retry");
    if (button.dataset.do === "pulse") send("pulse");
    if (button.dataset.do === "copy") copy(button);
  });
  const closePopovers = (target) => {
    for (const open of document.querySelectorAll("details.popover[open], details.more[open]")) {
      if (!open.contains(target)) open.open = false;
    }
  };
  // The clipboard's own interface is closed to pages without HTTPS; a selection is not.
  const copy = (button) => {
    getSelection().selectAllChildren($(button.dataset.from));
    const copied = document.execCommand("copy");
    button.querySelector("span").textContent = copied ? "Copied" : "Press Ctrl+C";
  };

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (key === "Escape") return closePopovers(document.body);
    if (key === " " && target.getAttribute("role") === "switch") { event.preventDefault(); return target.click(); }
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog")) return;
    if (key === "?" && $("#shortcuts")) return $("#shortcuts").showModal();
    const control = /^[a-z]$/.test(key) && $(`[data-key="${key}"]`);
    if (control) control.click();
  });
})();
