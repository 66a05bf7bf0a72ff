/* What is folded on a page, filled when it is opened: with the short form of the page that the link in it leads to,
   or with the part of it that the link names.
   Without this file the link stays, and leads there. */
"use strict";

document.addEventListener(
  "toggle",
  async ({ target: fold }) => {
    const link = fold.open && fold.querySelector("[data-brief]");
    if (!link || link.closest("[aria-busy]")) return;
    const body = link.parentElement;
    const problem = body.querySelector("[role=alert]");
    body.setAttribute("aria-busy", "true");
    problem.hidden = true;
    try {
      const answer = await fetch(link.href, { headers: { "X-Brief": "1" }, redirect: "error" });
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const part = link.hash ? page.querySelector(link.hash) : page.body;
      body.replaceChildren(...part.childNodes);
    } catch {
      problem.hidden = false;
    }
    body.removeAttribute("aria-busy");
  },
  true, // it does not bubble
);
