// Lets a reader try a call: of this service alone, with a token that only its field holds.
"use strict";
(() => {
  const MOST_SHOWN = 200000; // bytes of an answer
  const PATIENCE_MS = 60000;
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const token = $("#token");
  const here = new URL(".", location.href);

  const fields = (form, place) => $$(`[data-in="${place}"]`, form).filter((each) => each.value !== "");
  const values = (field) => "many" in field.dataset
    ? field.value.split(",").map((each) => each.trim()).filter(Boolean)
    : [field.value];

  // What the form asks for; throws in plain words where it can't be asked.
  const request = (form) => {
    let path = form.dataset.path.slice(1);
    for (const field of $$('[data-in="path"]', form)) {
      if (["", ".", ".."].includes(field.value)) throw new Error(`${field.dataset.name} can't be "${field.value}".`);
      path = path.replace(`{${field.dataset.name}}`, () => encodeURIComponent(field.value));
    }
    const query = new URLSearchParams();
    for (const field of fields(form, "query")) {
      for (const value of values(field)) query.append(field.dataset.name, value);
    }
    const headers = fields(form, "header").map((field) => [field.dataset.name, field.value]);
    const kind = fields(form, "kind").map((field) => field.value)[0];
    if (kind) headers.push(["Content-Type", kind]);
    const url = here.href + path + (String(query) && `?${query}`);
    return { method: form.dataset.method, url, headers, body: kind ? $('[data-in="body"]', form).value : undefined };
  };

  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const curl = (form, { method, url, headers, body }) => [
    `curl -X ${method} ${quoted(url)}`,
    ...("closed" in form.dataset ? ['-H "Authorization: Bearer $TOKEN"'] : []),
    ...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`),
    ...(body === undefined ? [] : [`--data-binary ${quoted(body)}`]),
  ].join(" \\\n  ");

  const show = (form) => {
    let line;
    try { line = curl(form, request(form)); } catch (error) { line = error.message; }
    $(".curl", form).textContent = line;
  };

  // Indents JSON without reading its numbers: some are larger than a script's numbers can be.
  const indented = (text) => {
    let depth = 0;
    const line = () => `\n${"  ".repeat(Math.max(depth, 0))}`;
    return text.replace(/"(?:[^"\\]|\\.)*"|[{[]\s*[}\]]|[{}[\],:]|\s+/g, (part) => {
      if (part[0] === '"') return part;
      if (/^[{[]\s*[}\]]$/.test(part)) return part.replace(/\s/g, "");
      if (part === "{" || part === "[") { depth += 1; return part + line(); }
      if (part === "}" || part === "]") { depth -= 1; return line() + part; }
      if (part === ",") return part + line();
      return part === ":" ? ": " : "";
    });
  };

  // The answer's text up to a bound, so that an endless export leaves the page alive.
  const text = async (answer) => {
    if (!answer.body) return ["", false];
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let found = "";
    for (let size = 0; size <= MOST_SHOWN;) {
      const { done, value } = await reader.read();
      if (done) return [found + decoder.decode(), false];
      size += value.length;
      found += decoder.decode(value, { stream: true });
    }
    await reader.cancel();
    return [found.slice(0, MOST_SHOWN), true];
  };

  const send = async (form) => {
    const said = $(".said", form);
    const button = $("button[type=submit]", form);
    const answer = $(".answer", form);
    answer.hidden = true;
    button.disabled = true;
    said.textContent = "Waiting for the answer …";
    try {
      const { method, url, headers, body } = request(form);
      const given = token.value.trim();
      if (given && "closed" in form.dataset) headers.push(["Authorization", `Bearer ${given}`]);
      const found = await fetch(url, {
        method, headers, body, mode: "same-origin", credentials: "omit", cache: "no-store",
        redirect: "error", referrerPolicy: "no-referrer", signal: AbortSignal.timeout(PATIENCE_MS),
      });
      const [whole, cut] = await text(found);
      const isJson = /[/+]json\b/.test(found.headers.get("Content-Type") || "");
      $(".headers", form).textContent = [...found.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
      $(".body", form).textContent = (isJson ? indented(whole) : whole) || "(none)";
      said.textContent = `${found.status} ${found.statusText}${cut ? ", of which the beginning is shown" : ""}`;
      answer.hidden = false;
    } catch (error) {
      said.textContent = `No answer: ${error.message}`;
    }
    button.disabled = false;
  };

  for (const form of $$("form.try")) {
    form.hidden = false;
    form.addEventListener("input", () => show(form));
    form.addEventListener("submit", (event) => { event.preventDefault(); send(form); });
    form.addEventListener("change", ({ target }) => {
      if (target.dataset.in !== "kind") return;
      const body = $('[data-in="body"]', form);
      body.value = target.selectedOptions[0].dataset.example || "";
      body.disabled = target.value === "";
      show(form);
    });
    // The clipboard's own interface is closed to pages without HTTPS; a selection is not.
    $(".copy", form).addEventListener("click", ({ target }) => {
      getSelection().selectAllChildren($(".curl", form));
      target.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl+C";
    });
    show(form);
  }
  $(".token").hidden = false;
  addEventListener("pagehide", () => { token.value = ""; });

  // A link to a call opens it; the phone's contents are folded away then.
  const contents = $(".contents");
  const narrow = matchMedia("(max-width: 831px)");
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const call = target.closest("details.call");
    if (call) call.open = true;
    (call || target).scrollIntoView();
    if (narrow.matches) contents.open = false;
  };
  addEventListener("hashchange", open);
  if (narrow.matches) contents.open = false;
  open();

  const filter = $("#filter");
  $(".filter").hidden = false;
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const group of $$("section", contents)) {
      const entries = $$("li", group);
      for (const each of entries) each.hidden = !`${each.dataset.words} ${each.textContent}`.toLowerCase().includes(wanted);
      group.hidden = entries.every((each) => each.hidden);
    }
  });
})();
