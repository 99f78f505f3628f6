"use strict";
for (const figure of document.querySelectorAll("figure.command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const text = figure.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(figure.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  figure.querySelector("figcaption").append(button);
}

const links = [...document.querySelectorAll("nav li a")];
const filter = document.createElement("input");
filter.type = "search";
filter.placeholder = "Filter routes";
filter.setAttribute("aria-label", "Filter routes");
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/);
  for (const link of links) {
    const text = (link.textContent + " " + link.title).toLowerCase();
    link.parentElement.hidden = !words.every((word) => text.includes(word));
  }
  for (const list of document.querySelectorAll("nav ul")) {
    list.previousElementSibling.hidden = [...list.children].every((item) => item.hidden);
  }
});
document.querySelector(".brand").after(filter);

const seen = new IntersectionObserver((changes) => {
  for (const change of changes) {
    if (!change.isIntersecting) continue;
    for (const link of links) {
      if (link.hash === "#" + change.target.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }
}, { rootMargin: "0px 0px -75% 0px" });
for (const part of document.querySelectorAll("article")) seen.observe(part);
