// The theme: the reader's choice, else the system's.
const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
const button = document.getElementById("theme");
let chosen = null;
try { chosen = localStorage.getItem("theme"); } catch { /* pages inside of others may not remember */ }
function show() {
  const dark = chosen ? chosen === "dark" : system.matches;
  root.classList.toggle("dark", dark);
  button.textContent = dark ? "Light theme" : "Dark theme";
}
button.addEventListener("click", () => {
  chosen = root.classList.contains("dark") ? "light" : "dark";
  try { localStorage.setItem("theme", chosen); } catch { /* as above */ }
  show();
});
system.addEventListener("change", show);
show();

// Charts, by Vega. Its editor is a web site, so there is no link to it.
const actions = { export: { svg: true, png: false }, source: false, compiled: false, editor: false };
const charts = [...document.querySelectorAll(".chart")].map((place) =>
  vegaEmbed(place, JSON.parse(place.nextElementSibling.textContent),
    { renderer: "svg", actions, bind: place.previousElementSibling }));

// Tables, by DataTables.
const bundle = new Blob([document.getElementById("datatables").textContent], { type: "text/javascript" });
const { default: DataTable } = await import(URL.createObjectURL(bundle));
const language = { search: "Filter rows: ", lengthMenu: "_MENU_ rows per page", zeroRecords: "No row matches." };
for (const table of document.querySelectorAll("table.sortable")) {
  const rows = table.tBodies[0].rows.length, paging = rows > 60 && table.id !== "methods";
  new DataTable(table, {
    order: [], paging, pageLength: 25, info: paging, searching: rows > 20 || table.id === "methods", language, autoWidth: false,
  });
}
await Promise.all(charts);
root.dataset.ready = "yes";
