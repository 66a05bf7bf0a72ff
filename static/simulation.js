/* The simulation of a draft. The server works it out and says how far it is, a line of JSON each time; the last
   line has the result. Without this file, Simulate answers with the whole page once it is done. */
"use strict";

(() => {
  const form = document.getElementById("simulation");
  const result = document.getElementById("result");
  const progress = document.getElementById("progress");
  const unreachable = document.getElementById("unreachable");
  if (!form || !progress) return;
  const bar = progress.querySelector("progress");
  const words = document.getElementById("progress-words");
  const run = form.querySelector("[name=run]");
  let asking = new AbortController();

  async function* lines(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      const parts = (rest + piece.value).split("\n");
      rest = parts.pop();
      yield* parts.map((text) => JSON.parse(text));
    }
  }

  function begin() {
    asking.abort(); // other months were asked for before
    asking = new AbortController();
    bar.removeAttribute("value"); // nobody knows yet how much there is
    words.textContent = "Reading what was used";
    progress.hidden = false;
    unreachable.hidden = true;
    result.replaceChildren();
    return asking.signal;
  }

  function show(line) {
    if ("html" in line) {
      result.innerHTML = line.html;
      return true;
    }
    [bar.max, bar.value] = [line.of, line.done];
    words.textContent = `${line.done.toLocaleString("en")} of ${line.of.toLocaleString("en")} services`;
    return false;
  }

  async function simulate() {
    const signal = begin();
    try {
      const answer = await fetch(location.pathname, {
        method: "POST",
        body: new FormData(form),
        headers: { "X-Progress": "1" },
        redirect: "error",
        signal,
      });
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      let isDone = false;
      for await (const line of lines(answer)) isDone = show(line);
      if (!isDone) throw new Error("broke off");
      run.textContent = run.dataset.again;
      progress.hidden = true;
    } catch (error) {
      if (error.name === "AbortError") return;
      progress.hidden = true;
      unreachable.hidden = false;
    }
  }

  form.addEventListener("submit", (event) => {
    if (event.submitter?.name !== "run") return;
    event.preventDefault();
    simulate();
  });

  if ("run" in form.dataset) simulate();
})();
