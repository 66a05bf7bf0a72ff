/* The pricing editor while typing. The server draws everything: the form is sent as it is, and what has
   data-live is taken over from the answer. Without this file the buttons do the same, one page at a time. */
"use strict";

(() => {
  const form = document.getElementById("pricing");
  if (!form) return;
  const PAUSE = 250;
  let timer = 0;
  let asking = new AbortController();

  async function drawn(button) {
    asking.abort(); // what was asked before is out of date
    asking = new AbortController();
    const answer = await fetch(location.pathname, {
      method: "POST",
      body: new FormData(form, button),
      headers: { "X-Partial": "1" },
      redirect: "error",
      signal: button.name === "preview" ? asking.signal : null,
    });
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  /* what was unfolded stays so; what is new stays as it was drawn */
  const isOpen = (more) => document.getElementById(more.id)?.open ?? more.open;

  function takeOver(page) {
    for (const part of form.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(part.id);
      for (const more of fresh?.querySelectorAll("details[id]") ?? []) more.open = isOpen(more);
      if (fresh && fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
    }
    document.getElementById("unreachable").hidden = true;
  }

  async function refresh() {
    try {
      takeOver(await drawn(form.querySelector("[name=preview]")));
    } catch (error) {
      if (error.name !== "AbortError") document.getElementById("unreachable").hidden = false;
    }
  }

  async function redraw(button) {
    const brackets = document.getElementById("brackets");
    const [isRow, isNew, number] = [["add", "remove"].includes(button.name), button.name === "add", Number(button.value)];
    brackets.inert = true;
    try {
      const page = await drawn(button);
      const fresh = page.getElementById("brackets");
      const open = [...brackets.querySelectorAll("details")].map((more) => more.open);
      fresh.querySelectorAll("details").forEach((more, place) => (more.open = open[place] ?? more.open));
      brackets.replaceWith(fresh);
      takeOver(page);
      const starts = [...fresh.querySelectorAll("[name^=start-]")];
      if (!isRow) fresh.querySelector(`[name=${button.name}]`)?.focus();
      else starts[isNew ? starts.length - 1 : Math.min(number, starts.length) - 1]?.focus();
    } catch (error) {
      brackets.inert = false;
      button.dataset.failed = "1";
      form.requestSubmit(button);
    }
  }

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, PAUSE);
  });

  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    clearTimeout(timer);
    if (button?.name === "preview") {
      event.preventDefault();
      refresh();
    } else if (["add", "remove", "add_currency_button", "convert"].includes(button?.name) && !button.dataset.failed) {
      event.preventDefault();
      redraw(button);
    } else {
      asking.abort();
    }
  });
})();
