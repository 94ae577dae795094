// Adds to the theme's pages what their HTML lacks for keyboards and screen readers. The templates in
// desk/templates/unfold cover the controls of every page; this covers what widgets add, in any page.
"use strict";

(() => {
  const CLICKABLE = "[x-on\\:click]:not(a[href], button, input, label, select, summary, #changelist-filter-close, :has(button, input))";
  const BUTTON_NAMES = {
    "#searchbar-submit": "Search",
    "#command-submit": "Search",
    ".related-widget-wrapper [x-on\\:click]": "Options",
    "a[href='#'][x-on\\:click*=showActions]": "Actions",
  };
  const FIELD_NAMES = { "#searchbar": "Search", "#search-input-command": "Find by name or ID" };

  const each = (selector, change) => document.querySelectorAll(selector).forEach(change);

  // Sets an attribute that is not there yet: observers run again for each change.
  function set(element, name, value) {
    if (!element.hasAttribute(name)) element.setAttribute(name, value);
  }

  function nameElements(names) {
    for (const [selector, name] of Object.entries(names)) each(selector, (element) => set(element, "aria-label", name));
  }

  function makeButton(element) {
    set(element, "role", "button");
    set(element, "tabindex", "0");
    if (element.title) set(element, "aria-label", element.title);
  }

  // select2 replaces a select field with elements that the label of the field does not name.
  function nameSelect2(select) {
    const container = select.nextElementSibling;
    const label = document.querySelector(`label[for="${CSS.escape(select.id)}"]`) || select.closest("div:has(> h3)")?.querySelector("h3");
    const name = label?.textContent.trim().replace(/[:*]$/, "") || select.name;
    container?.querySelectorAll("[role=combobox], [role=textbox], .select2-search__field").forEach((element) => {
      set(element, "aria-label", name);
    });
    // Its children are no list items.
    container?.querySelectorAll("ul.select2-selection__rendered").forEach((list) => set(list, "role", "presentation"));
  }

  // In a list without check boxes the theme labels the first cell "Select record" on a phone.
  function labelFirstCell(cell) {
    const header = cell.closest("table").querySelector("thead th .text");
    if (header) cell.dataset.label = header.textContent.trim();
  }

  function improve() {
    nameElements(BUTTON_NAMES);
    nameElements(FIELD_NAMES);
    each(CLICKABLE, makeButton);
    each(".material-symbols-outlined:not([role=button])", (icon) => set(icon, "aria-hidden", "true"));
    each("select.select2-hidden-accessible", nameSelect2);
    each(".select2-results__options:not([aria-label])", (list) => set(list, "aria-label", "Choices"));
    each(".help-tooltip[aria-label]", (tooltip) => set(tooltip, "role", "img"));
    each("#nav-sidebar-inner", (menu) => set(menu, "aria-label", "Menu"));
    each("#changelist-filter", (panel) => {
      set(panel, "role", "region");
      set(panel, "aria-label", "Filters");
      set(panel, "tabindex", "-1");
    });
    each("#nav-sidebar .simplebar-content-wrapper[role]", (area) => area.removeAttribute("role"));
    each("#result_list tbody td:first-child:not(.action-checkbox)[data-label]", labelFirstCell);
  }

  let scheduled = false;
  function schedule() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      improve();
    });
  }

  document.addEventListener("keydown", (event) => {
    const isButton = event.target.matches?.(`${CLICKABLE}[role=button]`);
    if (!isButton || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    event.target.click();
  });
  document.addEventListener("DOMContentLoaded", () => {
    improve();
    new MutationObserver(schedule).observe(document.body, { childList: true, subtree: true });
  });
})();
