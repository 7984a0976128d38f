// The wizard: rows of variables come and go at once, and a started deployment leads on to the list.

const LEAD_ON_MS = 2000;

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-add-variable], [data-remove-variable]");
  if (!button) return;
  event.preventDefault();
  if ("addVariable" in button.dataset) add();
  else remove(button.closest(".variable"));
});

function add() {
  const rows = document.querySelector(".variable-rows");
  rows.append(document.getElementById("variable-template").content.cloneNode(true));
  rows.querySelectorAll(".variable").forEach(show);
  rows.lastElementChild.querySelector("[name=envName]").focus();
}

function remove(row) {
  (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("[name=envName]").focus();
  row.remove();
}

// Without a script, a row that was not sent yet has nothing to remove.
function show(row, index) {
  row.querySelector("[data-remove-variable]").hidden = false;
  row.querySelector("[name=envName]").ariaLabel = `Name ${index + 1}`;
  row.querySelector("[name=envValue]").ariaLabel = `Value ${index + 1}`;
}

document.querySelectorAll(".variable").forEach(show);

const onward = document.querySelector("[data-lead-on]");
if (onward) {
  // In place of this page: Back would only lead on again.
  const leadOn = setTimeout(() => location.replace(onward.href), LEAD_ON_MS);
  // Whoever does something meanwhile goes where they want to.
  for (const act of ["click", "keydown"]) addEventListener(act, () => clearTimeout(leadOn), { capture: true });
}
