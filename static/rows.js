// Adds and removes rows in place. Without this script the same buttons ask the server for the page again.
"use strict";

for (const block of document.querySelectorAll("[data-rows]")) {
  const prefix = block.dataset.rows;
  const list = block.querySelector("ol");
  const blank = block.querySelector("template").content.firstElementChild;
  const count = block.querySelector(`input[name="${prefix}-count"]`);
  const index = new RegExp(`(${prefix.replace("rows-", "")})-(\\d+|__number__)`, "g");

  const renumber = () => {
    [...list.children].forEach((row, number) => {
      for (const element of [row, ...row.querySelectorAll("*")]) {
        for (const name of ["id", "name", "for", "value", "aria-describedby"]) {
          if (name === "value" && element.name !== "remove") continue;
          const text = element.getAttribute(name);
          if (text) element.setAttribute(name, text.replace(index, `$1-${number}`));
        }
        if (element.hasAttribute("data-number")) element.textContent = number + 1;
      }
    });
    count.value = list.children.length;
  };

  block.addEventListener("click", (event) => {
    const button = event.target.closest('button[name="add"], button[name="remove"]');
    if (!button) return;
    event.preventDefault();
    if (button.name === "remove") button.closest("li").remove();
    if (button.name === "add" || !list.children.length) {
      list.append(blank.cloneNode(true));
      list.lastElementChild.querySelector("input, select, textarea").focus();
    } else {
      block.querySelector('button[name="add"]')?.focus();
    }
    renumber();
  });
}
