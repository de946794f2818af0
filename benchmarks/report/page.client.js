// In the page: draws the lines anew when the width or the colours change, and sorts tables. Plain JavaScript, as it is.
/* global uPlot, document, matchMedia, ResizeObserver, getComputedStyle */
(() => {
  const plots = JSON.parse(document.getElementById('plots').textContent);
  const LIGHT = [
    '#0b62c4',
    '#c2410c',
    '#15803d',
    '#7e22ce',
    '#0e7490',
    '#b91c1c',
    '#a16207',
    '#be185d',
    '#475569',
    '#4d7c0f',
    '#4338ca',
    '#92400e',
  ];
  const DARK = [
    '#79b8ff',
    '#ff9d5c',
    '#63d68b',
    '#c99bff',
    '#4fd1e0',
    '#ff8585',
    '#e8c547',
    '#ff8ac2',
    '#a9b6c6',
    '#b2dd5a',
    '#a5a8ff',
    '#e0a878',
  ];
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const labels = [...new Set(plots.flatMap(({ lines }) => lines.map(({ label }) => label)))];
  const short = (value) => {
    if (value === null || value === undefined) return '–';
    if (Math.abs(value) >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
    if (Math.abs(value) >= 1e3) return `${Number((value / 1e3).toPrecision(3))}k`;
    return String(Number(value.toPrecision(3)));
  };

  // One x for all lines; where a line has none it goes on.
  const aligned = ({ lines }) => {
    const xs = [...new Set(lines.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
    const at = new Map(xs.map((x, i) => [x, i]));
    const ys = lines.map(({ points }) => {
      const values = Array(xs.length).fill(null);
      for (const [x, y] of points) values[at.get(x)] = y > 0 ? y : null;
      return values;
    });
    return [xs, ...ys];
  };

  const draw = (element) => {
    const plot = plots[Number(element.dataset.plot)];
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const colours = dark.matches ? DARK : LIGHT;
    const axis = {
      stroke: colour('--soft'),
      grid: { stroke: colour('--line'), width: 1 },
      ticks: { stroke: colour('--line') },
    };
    const names = new Map(plot.xNames ?? []);
    const xValues = plot.xNames === undefined ? null : plot.xNames.map(([x]) => x);
    const data = aligned(plot);
    const nameOf = (x) => (names.size === 0 ? short(x) : short(100 - 100 / x));
    const depths = plot.x === 'in flight' ? data[0] : null;
    const fixed = xValues ?? depths;
    element.uplot?.destroy();
    element.uplot = new uPlot(
      {
        width: element.clientWidth,
        height: 280,
        scales: {
          x: { time: false, distr: plot.isLogX ? 3 : 1 },
          y: { distr: plot.isLogY ? 3 : 1, ...(plot.isLogY ? {} : { range: (_, __, most) => [0, most * 1.05 || 1] }) },
        },
        axes: [
          {
            ...axis,
            ...(fixed === null
              ? { values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : short(tick))) }
              : {
                  splits: () => fixed,
                  filter: (_, splits) => splits,
                  values: (_, splits) => splits.map((x) => names.get(x) ?? String(x)),
                }),
          },
          { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : short(tick))) },
        ],
        series: [
          { label: plot.x, value: (_, x) => (x === null ? '–' : nameOf(x)) },
          ...plot.lines.map(({ label }) => ({
            label,
            stroke: colours[labels.indexOf(label) % colours.length],
            // Those that are ours stand out, and fio is the yardstick.
            width: /(?:^| )(?:aiokv|libaio)$/.test(label) ? 3 : 1.5,
            ...(/(?:^| )fio$/.test(label) ? { dash: [6, 4] } : {}),
            spanGaps: true,
            points: { show: data[0].length <= 12, size: 6 },
            value: (_, y) => short(y),
          })),
        ],
        cursor: { drag: { x: false, y: false } },
      },
      data,
      element,
    );
  };

  const elements = [...document.querySelectorAll('.plot')];
  for (const element of elements) {
    let width = 0;
    new ResizeObserver(() => {
      if (element.clientWidth === width) return;
      width = element.clientWidth;
      draw(element);
    }).observe(element);
    // The arrow keys read the values out of the legend, point by point.
    let index = -1;
    element.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const { uplot } = element;
      index = Math.min(uplot.data[0].length - 1, Math.max(0, index + step));
      uplot.setCursor({ left: uplot.valToPos(uplot.data[0][index], 'x'), top: 10 });
    });
  }
  dark.addEventListener('change', () => elements.forEach(draw));

  for (const button of document.querySelectorAll('.table th button')) {
    button.addEventListener('click', () => {
      const head = button.parentElement;
      const column = [...head.parentElement.children].indexOf(head);
      const isAscending = head.getAttribute('aria-sort') !== 'ascending';
      for (const other of head.parentElement.children) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', isAscending ? 'ascending' : 'descending');
      const body = head.closest('table').tBodies[0];
      const valueOf = (row) => {
        const cell = row.cells[column];
        return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
      };
      const compare = (a, b) =>
        typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
      const rows = [...body.rows].sort((a, b) => (isAscending ? 1 : -1) * compare(valueOf(a), valueOf(b)));
      body.append(...rows);
    });
  }
})();
