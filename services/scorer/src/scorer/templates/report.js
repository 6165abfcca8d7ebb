"use strict";
(() => {
  const form = document.getElementById("controls");
  const list = document.getElementById("cards");
  const cards = Array.from(list.children);
  const texts = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));

  const score = (card, scorer) => {
    const value = card.getAttribute("data-score-" + scorer);
    return value === null ? null : Number(value);
  };
  const byRank = (a, b) => Number(a.dataset.rank) - Number(b.dataset.rank) || b.dataset.side.localeCompare(a.dataset.side);
  const byScore = (scorer, sign) => (a, b) => {
    const x = score(a, scorer), y = score(b, scorer);
    if (x === null || y === null) return (x === null) - (y === null) || byRank(a, b);
    return sign * (x - y) || byRank(a, b);
  };

  const update = () => {
    const side = form.elements.side.value, order = form.elements.order.value;
    const wanted = form.elements.find.value.toLowerCase().trim();
    let shown = 0;
    for (const card of cards) {
      card.hidden = (side !== "" && card.dataset.side !== side) || !texts.get(card).includes(wanted);
      shown += card.hidden ? 0 : 1;
    }
    const compare = order === "rank" ? byRank : byScore(order.slice(1), order[0] === "-" ? -1 : 1);
    list.append(...cards.slice().sort(compare));
    form.elements.count.value = shown + " shown";
    document.getElementById("nothing").hidden = shown > 0;
  };

  // A link from a chart to a card that the filter hides shows everything again.
  const reveal = () => {
    const card = document.getElementById(location.hash.slice(1));
    if (card && card.hidden) { form.reset(); update(); card.scrollIntoView(); }
  };

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", reveal);
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
})();
