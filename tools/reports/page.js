// What the page does beyond showing: hide runs in the curves, enlarge pictures, sort tables.
'use strict';

for (const button of document.querySelectorAll('button[data-toggle]')) {
  button.disabled = false;
  button.addEventListener('click', () => {
    const shown = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(shown));
    for (const part of document.querySelectorAll(`svg [data-run="${button.dataset.toggle}"]`)) {
      part.style.display = shown ? '' : 'none';
    }
  });
}

const dialog = document.querySelector('dialog');
for (const picture of document.querySelectorAll('img.enlarges')) {
  picture.tabIndex = 0;
  const open = () => {
    const large = dialog.querySelector('img');
    large.src = picture.src;
    large.alt = picture.alt;
    dialog.showModal();
  };
  picture.addEventListener('click', open);
  picture.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') open();
  });
}
dialog.addEventListener('click', () => dialog.close());

for (const head of document.querySelectorAll('table.sortable th')) {
  head.tabIndex = 0;
  const sort = () => {
    const column = head.cellIndex;
    const body = head.closest('table').tBodies[0];
    const rising = head.getAttribute('aria-sort') === 'descending';
    const key = (row) => {
      const cell = row.cells[column];
      return 'value' in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
    };
    const compare = (a, b) =>
      typeof a === 'number' ? (a || 0) - (b || 0) : a.localeCompare(b);
    const rows = [...body.rows].sort((a, b) => (rising ? 1 : -1) * compare(key(a), key(b)));
    for (const other of head.parentElement.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', rising ? 'ascending' : 'descending');
    body.append(...rows);
  };
  head.addEventListener('click', sort);
  head.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') sort();
  });
}
