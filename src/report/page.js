(() => {
  'use strict';
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Light or dark: the dark style's media is the switch, so that paper stays light.
  const dark = document.getElementById('dark');
  const button = document.createElement('button');
  button.id = 'theme';
  const isDark = () => matchMedia(dark.media).matches;
  const name = () => {
    button.textContent = isDark() ? '☀' : '☾';
    button.title = isDark() ? 'Light colours' : 'Dark colours';
    button.setAttribute('aria-label', button.title);
  };
  button.addEventListener('click', () => {
    dark.media = isDark() ? 'not all' : 'screen';
    name();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', name);
  name();
  document.querySelector('main').prepend(button);

  // Tables: a head cell sorts by its column, smallest first, then largest first; what was not measured stays last.
  const value = (cell) => cell && (cell.dataset.v ?? cell.textContent.trim());
  const compare = (a, b, sign) => {
    const x = parseFloat(a), y = parseFloat(b);
    if (isNaN(x) && isNaN(y)) return sign * String(a).localeCompare(String(b));
    return isNaN(x) ? 1 : isNaN(y) ? -1 : sign * (x - y);
  };
  const sort = (table, column) => {
    const heads = all('thead th', table);
    const up = heads[column].getAttribute('aria-sort') !== 'ascending';
    heads.forEach((head) => head.removeAttribute('aria-sort'));
    heads[column].setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const body = table.tBodies[table.tBodies.length - 1];
    const rows = [...body.rows].sort((a, b) => compare(value(a.cells[column]), value(b.cells[column]), up ? 1 : -1));
    body.append(...rows);
  };
  all('table.sortable').forEach((table) => {
    if (table.tBodies[table.tBodies.length - 1].rows.length < 2) return;
    all('thead th', table).forEach((head, column) => {
      const control = document.createElement('button');
      control.type = 'button';
      control.textContent = head.textContent;
      control.addEventListener('click', () => sort(table, column));
      head.replaceChildren(control);
    });
  });

  // Plots: what is pointed at or focused is told in the line below; arrow keys walk, and each plot is one tab stop.
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const place = (item, i) => [Number(item.dataset.x ?? i), Number(item.dataset.y ?? 0)];
  const next = (items, from, [dx, dy]) => {
    const flat = items[from].dataset.x === undefined;
    const [x, y] = place(items[from], from);
    let best = from, least = Infinity;
    items.forEach((item, i) => {
      const [u, v] = place(item, i);
      const along = flat ? (u - x) * (dx + dy) : dx ? (u - x) * dx : (v - y) * dy;
      const across = flat ? 0 : dx ? Math.abs(v - y) * 1e6 : Math.abs(u - x);
      if (along > 0 && along * 1e3 + across < least) [best, least] = [i, along * 1e3 + across];
    });
    return best;
  };
  all('svg').forEach((svg) => {
    const items = all('.item', svg);
    const detail = (svg.closest('.scroll') ?? svg).nextElementSibling;
    if (!items.length || !detail) return;
    const tell = (item) => {
      detail.textContent = item.querySelector('title').textContent;
    };
    const itemOf = (event) => event.target.closest('.item');
    svg.addEventListener('pointerover', (event) => itemOf(event) && tell(itemOf(event)));
    svg.addEventListener('focusin', (event) => itemOf(event) && tell(itemOf(event)));
    svg.addEventListener('keydown', (event) => {
      const step = steps[event.key], from = items.indexOf(itemOf(event));
      if (!step || from < 0) return;
      event.preventDefault();
      const to = items[next(items, from, step)];
      items[from].setAttribute('tabindex', '-1');
      to.setAttribute('tabindex', '0');
      to.focus();
    });
  });

  // Candidates: a link opens what it leads to.
  const follow = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === 'DETAILS') target.open = true;
  };
  addEventListener('hashchange', follow);
  follow();
})();
