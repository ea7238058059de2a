// The page's script: freshness, filters, tables, charts. It reads one block of JSON, and fetches nothing unless
// `acequia report --serve` shows the page.
(function () {
  'use strict';

  const node = (id) => document.getElementById(id);
  let report = JSON.parse(node('report-data').textContent);
  const words = report.words;
  const language = report.language;
  const dark = matchMedia('(prefers-color-scheme: dark)');

  /* ---- Values in the page's language ---- */

  const dateFormat = new Intl.DateTimeFormat(language, { dateStyle: 'medium' });
  const monthFormat = new Intl.DateTimeFormat(language, { month: 'short', year: 'numeric' });
  const timeFormat = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' });
  const ageFormat = new Intl.RelativeTimeFormat(language, { numeric: 'always' });
  const collator = new Intl.Collator(language, { numeric: true });
  const countFormat = new Intl.NumberFormat(language);

  // A day is a day wherever its reader is.
  function dateOf(text) {
    const [year, month, day] = text.split('-').map(Number);
    const date = new Date(2000, month - 1, day);
    date.setFullYear(year);
    return date;
  }

  function momentOf(kind, value) {
    return kind === 'date' ? dateOf(value) : new Date(value);
  }

  function isMoment(kind) {
    return kind === 'date' || kind === 'time' || kind === 'instant';
  }

  function age(moment) {
    const seconds = Math.round((moment - Date.now()) / 1000);
    const units = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
    const [unit, length] = units.find(([, length]) => Math.abs(seconds) >= length) || units[3];
    return ageFormat.format(Math.trunc(seconds / length), unit);
  }

  // How the values of a column are written: numbers all with as many decimals as the one that has the most.
  function writer(column, values) {
    const kind = column.kind;
    if (kind === 'number') {
      const isYearOrId = /^(a[nñ]o|year|id|.*_id|id_.*)$/i.test(column.name);
      const decimals = values.reduce((most, value) => {
        const text = String(value);
        const point = /e/i.test(text) ? -1 : text.indexOf('.');
        return point < 0 ? most : Math.max(most, text.length - point - 1);
      }, 0);
      const shown = decimals > 4 ? 2 : decimals;
      const format = new Intl.NumberFormat(language, {
        minimumFractionDigits: shown, maximumFractionDigits: shown, useGrouping: isYearOrId ? false : 'auto',
      });
      // A number that is no exact double is a text, and is written from its digits.
      return (value) => (Number.isNaN(Number(value)) ? String(value) : format.format(value));
    }
    if (kind === 'date') {
      const isMonth = /^(mes|month)/i.test(column.name) && values.every((value) => value.endsWith('-01'));
      const format = isMonth ? monthFormat : dateFormat;
      return (value) => format.format(dateOf(value));
    }
    if (isMoment(kind)) return (value) => timeFormat.format(new Date(value));
    if (kind === 'boolean') return (value) => (value ? words.yes : words.no);
    return (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value));
  }

  function heading(name) {
    const text = name.replace(/_/g, ' ').trim();
    return text.charAt(0).toLocaleUpperCase(language) + text.slice(1);
  }

  function element(tag, properties, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name in made && name !== 'form') made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  /* ---- Freshness ---- */

  function showTimes() {
    for (const time of document.querySelectorAll('time[data-form]')) {
      const moment = new Date(time.dateTime);
      const whole = timeFormat.format(moment);
      if (time.dataset.form === 'age') time.textContent = age(moment);
      else time.textContent = time.closest('[data-newest]') ? `${whole} (${age(moment)})` : whole;
    }
    for (const cell of document.querySelectorAll('[data-number]')) {
      if (/^\d+$/.test(cell.textContent)) cell.textContent = countFormat.format(cell.textContent);
    }
  }

  function setTime(time, moment) {
    if (time && moment) time.dateTime = moment;
  }

  // What the head says, of a report that came later.
  function showFreshness() {
    const loaded = report.freshness.map((stream) => stream.loaded_at).filter(Boolean).sort();
    setTime(document.querySelector('[data-newest] time'), loaded[loaded.length - 1]);
    setTime(document.querySelector('[data-made] time'), report.made_at);
    const rows = document.querySelectorAll('#freshness tbody tr');
    report.freshness.forEach((stream, at) => {
      const row = rows[at];
      if (!row) return;
      for (const time of row.querySelectorAll('time')) setTime(time, stream.loaded_at);
      row.querySelector('[data-number]').textContent = String(stream.rows);
    });
    showTimes();
  }

  /* ---- Filters ---- */

  const chosen = new Map();

  function allData() {
    return report.parts.flatMap((part) => Object.values(part.data));
  }

  function columnAt(data, field) {
    return data.columns.findIndex((column) => column.name === field);
  }

  // What a filter can be set to: texts, or months.
  function choicesOf(filter) {
    const found = new Set();
    for (const data of allData()) {
      const at = columnAt(data, filter.field);
      if (at < 0) continue;
      const { kind } = data.columns[at];
      for (const row of data.rows) if (row[at] !== null) found.add(choiceOf(filter, kind, row[at]));
    }
    if (filter.type !== 'select') found.delete('');
    return [...found];
  }

  const choiceOf = (filter, kind, value) => (filter.type === 'select' ? String(value) : monthOf(kind, value));

  // The month that a value is shown in; none of what is no time, or has no end.
  function monthOf(kind, value) {
    if (kind === 'instant') {
      const moment = new Date(value);
      if (Number.isNaN(moment.getTime())) return '';
      return `${String(moment.getFullYear()).padStart(4, '0')}-${String(moment.getMonth() + 1).padStart(2, '0')}`;
    }
    return /^\d{4}-\d{2}/.test(value) ? value.slice(0, 7) : '';
  }

  function isActive(filter) {
    const choice = chosen.get(filter.field);
    return choice !== undefined && (filter.type === 'select' || choice.from !== '' || choice.until !== '');
  }

  function passes(filter, kind, value) {
    const choice = chosen.get(filter.field);
    if (value === null) return false;
    const own = choiceOf(filter, kind, value);
    if (filter.type === 'select') return own === choice;
    return own !== '' && (choice.from === '' || own >= choice.from) && (choice.until === '' || own <= choice.until);
  }

  function filtered(data) {
    const active = report.filters
      .filter(isActive)
      .map((filter) => [filter, columnAt(data, filter.field)])
      .filter(([, at]) => at >= 0);
    if (active.length === 0) return data.rows;
    return data.rows.filter((row) => active.every(([filter, at]) => passes(filter, data.columns[at].kind, row[at])));
  }

  // The filters that are set and that none of these data has a column for.
  function notApplied(part) {
    const sets = Object.values(part.data);
    return report.filters
      .filter((filter) => isActive(filter) && sets.every((data) => columnAt(data, filter.field) < 0))
      .map((filter) => filter.label);
  }

  function select(id, options, value) {
    const made = element('select', { id });
    for (const [key, text] of options) made.append(element('option', { value: key }, text));
    made.value = value;
    return made;
  }

  function buildFilters() {
    const form = node('filters');
    form.replaceChildren();
    report.filters.forEach((filter, number) => {
      const values = choicesOf(filter);
      if (values.length === 0) return;
      const id = `filter-${number}`;
      if (filter.type === 'select') {
        // No value is All, which has no `=` before it.
        const options = values.sort(collator.compare).map((value) => [`=${value}`, value === '' ? words.empty : value]);
        if (!values.includes(chosen.get(filter.field))) chosen.delete(filter.field);
        const choice = chosen.get(filter.field);
        const control = select(id, [['', words.all], ...options], choice === undefined ? '' : `=${choice}`);
        control.addEventListener('change', () => {
          choose(filter.field, control.value === '' ? undefined : control.value.slice(1));
        });
        form.append(element('div', {}, element('label', { htmlFor: id }, filter.label), control));
        return;
      }
      const months = values.sort();
      const options = [['', words.all], ...months.map((month) => [month, monthLabel(month)])];
      const choice = chosen.get(filter.field) || { from: '', until: '' };
      chosen.set(filter.field, choice);
      const controls = ['from', 'until'].map((side) => {
        const control = select(`${id}-${side}`, options, choice[side]);
        if (control.selectedIndex < 0) control.value = choice[side] = '';
        control.setAttribute('aria-label', `${filter.label}, ${words[side]}`);
        control.addEventListener('change', () => {
          choose(filter.field, { ...chosen.get(filter.field), [side]: control.value });
        });
        return control;
      });
      form.append(element('fieldset', {}, element('legend', {}, filter.label),
        element('div', { className: 'between' }, words.from, controls[0], words.until, controls[1])));
    });
    if (form.childElementCount === 0) return;
    const reset = element('button', { type: 'button', className: 'reset' }, words.reset);
    reset.addEventListener('click', () => {
      chosen.clear();
      buildFilters();
      showAll();
      form.querySelector('select').focus();
    });
    reset.disabled = !report.filters.some(isActive);
    form.append(reset);
    form.hidden = false;
  }

  function monthLabel(month) {
    return /^\d{4}-\d{2}$/.test(month) ? monthFormat.format(dateOf(`${month}-01`)) : month;
  }

  function choose(field, value) {
    chosen.set(field, value);
    const reset = node('filters').querySelector('.reset');
    reset.disabled = !report.filters.some(isActive);
    showAll();
  }

  // What is chosen stays with the page's address, so that it can be sent on and survives a reload.
  function remember() {
    const query = new URLSearchParams();
    for (const filter of report.filters) {
      if (!isActive(filter)) continue;
      const choice = chosen.get(filter.field);
      query.set(filter.field, filter.type === 'select' ? choice : `${choice.from}..${choice.until}`);
    }
    const text = query.toString();
    try {
      history.replaceState(null, '', `${location.pathname}${text ? `?${text}` : ''}${location.hash}`);
    } catch {
      // Some browsers do not let the address of a file change.
    }
  }

  function recall() {
    const query = new URLSearchParams(location.search);
    for (const filter of report.filters) {
      const text = query.get(filter.field);
      if (text === null) continue;
      if (filter.type === 'select') chosen.set(filter.field, text);
      else if (text.includes('..')) {
        const [from, until] = text.split('..');
        chosen.set(filter.field, { from, until });
      }
    }
  }

  /* ---- Tables ---- */

  const tables = new Map();

  // The digits of a number before and behind its point, as one whole number with so many of them behind.
  function wholeOf(text, scale) {
    const [whole, fraction] = text.split('.');
    return BigInt(whole + (fraction || '').padEnd(scale, '0'));
  }

  // NaN is the greatest, as in databases. Numbers that are no exact doubles are texts, and are compared by their digits.
  function compareNumbers(a, b) {
    const [x, y] = [Number(a), Number(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    if (x !== y) return x < y ? -1 : 1;
    const texts = [String(a), String(b)];
    if (!texts.every((text) => /^-?\d+(\.\d+)?$/.test(text))) return 0;
    const scale = Math.max(...texts.map((text) => (text.split('.')[1] || '').length));
    const [m, n] = texts.map((text) => wholeOf(text, scale));
    return m < n ? -1 : m > n ? 1 : 0;
  }

  function compare(kind, a, b) {
    if (a === null || b === null) return 0;
    if (kind === 'number') return compareNumbers(a, b);
    if (kind === 'instant') return new Date(a) - new Date(b);
    return typeof a === 'string' && !isMoment(kind) ? collator.compare(a, b) : a < b ? -1 : a > b ? 1 : 0;
  }

  function sorted(data, rows, sort) {
    if (!sort) return rows;
    const at = columnAt(data, sort.name);
    if (at < 0) return rows;
    const kind = data.columns[at].kind;
    // What is not there comes last, whichever way.
    return rows.slice().sort((a, b) => (a[at] === null) - (b[at] === null)
      || sort.direction * compare(kind, a[at], b[at]));
  }

  function showTable(holder, key, data, limit, labelledBy) {
    const state = tables.get(key) || { sort: null, whole: false };
    tables.set(key, state);
    const rows = sorted(data, filtered(data), state.sort);
    const shown = state.whole ? rows : rows.slice(0, limit);
    const columns = data.columns.map((column, at) => ({
      ...column,
      write: writer(column, data.rows.map((row) => row[at]).filter((value) => value !== null)),
      style: column.kind === 'number' ? 'number' : isMoment(column.kind) ? 'time' : '',
    }));
    const again = (focus) => {
      showTable(holder, key, data, limit, labelledBy);
      const found = holder.querySelector(focus);
      if (found) found.focus();
    };
    const heads = columns.map((column, at) => {
      const direction = state.sort && state.sort.name === column.name ? state.sort.direction : 0;
      const button = element('button', { type: 'button', 'data-column': String(at) }, heading(column.name));
      button.title = `${words.sort} ${heading(column.name)}`;
      button.addEventListener('click', () => {
        // Numbers and times are most often looked for from the greatest.
        const first = column.style === '' ? 1 : -1;
        state.sort = { name: column.name, direction: direction === 0 ? first : -direction };
        again(`button[data-column="${at}"]`);
      });
      const head = element('th', { scope: 'col', className: column.style }, button);
      head.setAttribute('aria-sort', direction === 0 ? 'none' : direction > 0 ? 'ascending' : 'descending');
      return head;
    });
    const body = shown.map((row) => element('tr', {}, ...columns.map((column, at) => {
      const value = row[at];
      return element('td', { className: column.style }, value === null ? '–' : column.write(value));
    })));
    const table = element('table', {}, element('thead', {}, element('tr', {}, ...heads)), element('tbody', {}, ...body));
    table.setAttribute('aria-labelledby', labelledBy);
    const scroll = element('div', { className: 'scroll', tabIndex: 0 }, table);
    scroll.setAttribute('role', 'region');
    scroll.setAttribute('aria-labelledby', labelledBy);
    const more = element('div', { className: 'more' });
    if (rows.length === 0) more.append(words.no_rows);
    if (rows.length > limit) {
      const text = words.shown
        .replace('{shown}', countFormat.format(shown.length))
        .replace('{total}', countFormat.format(rows.length));
      const button = element('button', { type: 'button', className: 'whole' }, state.whole ? words.show_fewer : words.show_all);
      button.addEventListener('click', () => {
        state.whole = !state.whole;
        again('button.whole');
      });
      more.append(text, button);
    }
    holder.replaceChildren(scroll, more);
  }

  /* ---- Charts ---- */

  const LOCALES = {
    es: {
      numbers: { decimal: ',', thousands: '.', grouping: [3], currency: ['', '\u00a0€'], percent: '\u00a0%' },
      times: {
        dateTime: '%A, %e de %B de %Y, %X', date: '%d/%m/%Y', time: '%H:%M:%S', periods: ['a. m.', 'p. m.'],
        days: ['domingo', 'lunes', 'martes', 'miércoles', 'jueves', 'viernes', 'sábado'],
        shortDays: ['dom', 'lun', 'mar', 'mié', 'jue', 'vie', 'sáb'],
        months: ['enero', 'febrero', 'marzo', 'abril', 'mayo', 'junio', 'julio', 'agosto', 'septiembre', 'octubre',
          'noviembre', 'diciembre'],
        shortMonths: ['ene', 'feb', 'mar', 'abr', 'may', 'jun', 'jul', 'ago', 'sep', 'oct', 'nov', 'dic'],
      },
    },
    en: {
      numbers: { decimal: '.', thousands: ',', grouping: [3], currency: ['$', ''] },
      times: {
        dateTime: '%x, %X', date: '%Y-%m-%d', time: '%H:%M:%S', periods: ['AM', 'PM'],
        days: ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'],
        shortDays: ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'],
        months: ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October',
          'November', 'December'],
        shortMonths: ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'],
      },
    },
  };

  // Colours are the style's own, so that they follow it into the dark and onto paper. Those of ramps are mixed, and so
  // must be numbers.
  function configuration(width, legendLabel, isCrowded, hasNames) {
    const ramp = dark.matches
      ? ['#22364a', '#2f5f8f', '#4a8fcb', '#84bdf2', '#d6ebff']
      : ['#e3eef8', '#a9cbe8', '#5f9fd1', '#2a70ae', '#0b3f73'];
    const diverging = dark.matches
      ? ['#f69d50', '#a8703d', '#3d444c', '#3f7db0', '#6cb6ff']
      : ['#b0450a', '#e8ab82', '#eef0f2', '#8fbce0', '#1f6fb4'];
    const font = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
    const narrow = width < NARROW;
    // What is left beside the names of bars: legends begin where the bars do.
    const room = width - (hasNames ? (narrow ? NAME : 220) + 10 : 60);
    const stacked = { anchor: 'start', direction: narrow ? 'vertical' : 'horizontal' };
    return {
      background: 'transparent',
      font,
      mark: { color: 'var(--c1)', tooltip: true },
      bar: { color: 'var(--c1)' },
      line: { strokeWidth: 2.5 },
      point: { filled: true, size: 50 },
      rule: { color: 'var(--ink)' },
      text: { color: 'var(--ink)', fontSize: 12 },
      axis: {
        labelColor: 'var(--muted)', titleColor: 'var(--ink)', gridColor: 'var(--line)', domainColor: 'var(--muted)',
        tickColor: 'var(--muted)', labelFontSize: 12, titleFontSize: 12, titleFontWeight: 600, labelLimit: narrow ? NAME : 210,
        labelOverlap: true, titlePadding: 8, gridOpacity: 0.7,
      },
      axisBand: { grid: false },
      axisX: { labelSeparation: 6, titleLimit: room },
      axisXQuantitative: { tickCount: narrow ? 4 : 6 },
      axisXDiscrete: isCrowded ? { labelAngle: -40, labelLimit: 120 } : { labelAngle: 0 },
      legend: {
        orient: 'bottom', direction: 'horizontal', columns: Math.max(1, Math.floor(room / (legendLabel + 35))),
        labelColor: 'var(--ink)', titleColor: 'var(--ink)', labelFontSize: 12, titleFontSize: 12, labelLimit: Math.min(Math.max(legendLabel, 150), room - 25), layout: { bottom: stacked, top: stacked },
        gradientLength: Math.min(220, room - 20), symbolSize: 90, titleLimit: room,
      },
      header: { labelColor: 'var(--ink)', titleColor: 'var(--ink)', labelFontSize: 12, titleFontSize: 12 },
      title: { color: 'var(--ink)', subtitleColor: 'var(--muted)' },
      view: { stroke: null, discreteHeight: { step: 24 } },
      range: {
        category: [1, 2, 3, 4, 5, 6, 7, 8].map((number) => `var(--c${number})`),
        ordinal: ramp, ramp, heatmap: ramp, diverging,
      },
      tooltipFormat: { numberFormat: ',.6~f' },
    };
  }

  // How wide the labels of a chart's legend are, more or less.
  function legendLabel(part, width) {
    const fields = new Set();
    let longest = 8;
    const look = (view) => {
      for (const channel of ['color', 'fill', 'stroke', 'shape', 'opacity', 'strokeDash']) {
        const definition = view.encoding && view.encoding[channel];
        if (!definition || !definition.field) continue;
        fields.add(definition.field);
        const names = (definition.scale && definition.scale.domain) || [];
        if (Array.isArray(names)) for (const name of names) longest = Math.max(longest, String(name).length);
      }
      for (const key of ['layer', 'concat', 'hconcat', 'vconcat']) (view[key] || []).forEach(look);
      if (view.spec) look(view.spec);
    };
    look(part.spec);
    for (const data of Object.values(part.data)) {
      data.columns.forEach((column, at) => {
        if (!fields.has(column.name) || column.kind !== 'text') return;
        for (const row of data.rows) longest = Math.max(longest, String(row[at]).length);
      });
    }
    return Math.max(60, Math.min(longest * 7.5, width - 110, 300));
  }

  // Whether the names below a chart have no room beside one another. How long times will be is not known.
  function isCrowded(part, width) {
    const whole = width - 70;
    let room = whole;
    const look = (view) => {
      const x = view.encoding && view.encoding.x;
      if (x && x.field) {
        for (const data of Object.values(part.data)) {
          const at = columnAt(data, x.field);
          if (at < 0) continue;
          const names = [...new Set(data.rows.map((row) => String(row[at])))];
          const longest = names.reduce((most, name) => Math.max(most, name.length), 0);
          const each = x.timeUnit || isMoment(data.columns[at].kind) ? 60 : longest * 7 + 12;
          room = Math.min(room, whole - names.length * each);
        }
      }
      (view.layer || []).forEach(look);
    };
    look(part.spec);
    return isComposed(part.spec) || room < 0;
  }

  // The rows as Vega-Lite has them: times as numbers, whose day does not depend on where the reader is.
  function records(part, data) {
    const readers = data.columns.map((column) => {
      if (column.kind === 'number') return (value) => (typeof value === 'string' ? Number(value) : value);
      if (part.temporal.includes(column.name) && isMoment(column.kind)) {
        return (value) => momentOf(column.kind, value).getTime();
      }
      return (value) => value;
    });
    return filtered(data).map((row) => Object.fromEntries(
      row.map((value, at) => [data.columns[at].name, value === null ? null : readers[at](value)]),
    ));
  }

  // Below this width names beside bars have so much room, whatever the specification says, and the bars the rest.
  const NARROW = 480;
  const NAME = 130;

  function shortenNames(view) {
    const axis = view.encoding && view.encoding.y && view.encoding.y.axis;
    if (axis && axis.labelLimit > NAME) axis.labelLimit = NAME;
    (view.layer || []).forEach(shortenNames);
  }

  const COMPOSED = ['concat', 'hconcat', 'vconcat', 'repeat', 'facet', 'spec'];

  function isComposed(spec) {
    const encoding = spec.encoding || {};
    return COMPOSED.some((key) => key in spec) || ['row', 'column', 'facet'].some((key) => key in encoding);
  }

  // Bars as high as their rows and as wide as the page are what is wanted; Vega-Lite warns of them.
  function logger() {
    const made = vega.logger(vega.Warn);
    const warn = made.warn;
    made.warn = (...texts) => (/^Dropping "fit-/.test(String(texts[0])) ? made : warn.apply(made, texts));
    return made;
  }

  const views = new Map();

  async function draw(part) {
    const figure = node(part.id);
    const drawing = figure.querySelector('.drawing');
    const width = drawing.clientWidth || 600;
    const spec = structuredClone(part.spec);
    if (!isComposed(spec)) {
      if (width < NARROW) shortenNames(spec);
      if (spec.width === undefined) spec.width = 'container';
      if (spec.height === undefined && !discreteHeight(spec)) spec.height = width < NARROW ? 240 : 300;
      if (spec.autosize === undefined) spec.autosize = { type: 'fit-x', contains: 'padding' };
    }
    spec.datasets = { ...spec.datasets };
    for (const [name, data] of Object.entries(part.data)) spec.datasets[name] = records(part, data);
    const locale = LOCALES[language];
    const old = views.get(part.id);
    if (old) old.finalize();
    const result = await vegaEmbed(drawing, spec, {
      mode: 'vega-lite', renderer: 'svg', actions: false, ast: true, defaultStyle: false, hover: true,
      config: configuration(width, legendLabel(part, width), isCrowded(part, width), discreteHeight(spec)), formatLocale: locale.numbers, timeFormatLocale: locale.times,
      tooltip: { theme: 'page', disableDefaultStyle: true }, logger: logger(),
    });
    views.set(part.id, result);
    // What scrolls can be scrolled by the keyboard.
    if (drawing.scrollWidth > drawing.clientWidth) drawing.tabIndex = 0;
    else drawing.removeAttribute('tabindex');
  }

  // Bars that lie are as many as their rows: their height follows.
  function discreteHeight(spec) {
    const views = [spec, ...(spec.layer || [])];
    return views.some((view) => {
      const y = view.encoding && view.encoding.y;
      return y && (y.type === 'nominal' || y.type === 'ordinal' || (y.field !== undefined && y.type === undefined && !y.aggregate && !y.bin && !y.timeUnit));
    });
  }

  async function redraw(part) {
    const result = views.get(part.id);
    if (!result) return;
    for (const [name, data] of Object.entries(part.data)) {
      try {
        result.view.data(name, records(part, data));
      } catch {
        // Vega-Lite leaves out rows that nothing is drawn from.
      }
    }
    await result.view.resize().runAsync();
  }

  async function showChart(part, work) {
    const figure = node(part.id);
    const sets = Object.values(part.data);
    const isEmpty = sets.every((data) => filtered(data).length === 0);
    figure.querySelector('.empty').hidden = !isEmpty;
    const drawing = figure.querySelector('.drawing');
    drawing.hidden = isEmpty;
    try {
      if (!isEmpty) await (views.has(part.id) ? work : draw)(part);
      figure.dataset.drawn = isEmpty ? 'empty' : 'yes';
    } catch (error) {
      figure.dataset.drawn = 'no';
      drawing.hidden = false;
      drawing.replaceChildren(element('p', { className: 'error' }, `${words.broken} ${error.message}`));
      console.error(`${part.id}: ${error.message}`);
    }
    document.body.dataset.drawn = String(document.querySelectorAll('figure.chart[data-drawn]:not([data-drawn="no"])').length);
    const details = figure.querySelector('details');
    const showData = () => {
      const holder = details.querySelector('.data');
      const entries = Object.entries(part.data);
      while (holder.childElementCount < entries.length) holder.append(element('div'));
      entries.forEach(([name, data], at) => {
        showTable(holder.children[at], `${part.id} ${name}`, data, 25, `${part.id}-title`);
      });
    };
    details.ontoggle = () => { if (details.open) showData(); };
    if (details.open) showData();
  }

  /* ---- The page ---- */

  let drawing = Promise.resolve();

  // One chart after the other, so that a telephone stays usable meanwhile; what is asked for in between waits its turn.
  function showAll(work) {
    remember();
    const current = report;
    drawing = drawing.then(async () => {
      for (const part of current.parts) {
        const missing = notApplied(part);
        const note = node(part.id).querySelector('.unfiltered');
        note.hidden = missing.length === 0;
        note.textContent = `${words.unfiltered} ${missing.join(', ')}`;
        if (part.spec) await showChart(part, work || redraw);
        else showTable(node(part.id).querySelector('.data'), part.id, part.data.rows, part.limit, `${part.id}-title`);
      }
      const active = report.filters.filter(isActive).map((filter) => filter.label);
      node('filtered').textContent = active.length > 0 ? `${words.filters}: ${active.join(', ')}` : '';
      document.body.dataset.shown = String(Number(document.body.dataset.shown || 0) + 1);
    });
    return drawing;
  }

  recall();
  buildFilters();
  showTimes();
  setInterval(showTimes, 10000);
  showAll();
  dark.addEventListener('change', () => showAll(draw));

  /* ---- Live ---- */

  if (document.documentElement.dataset.live !== undefined) {
    const events = new EventSource('events');
    events.addEventListener('changed', async () => {
      const answer = await fetch('data', { cache: 'no-store' });
      if (!answer.ok) return;
      const next = await answer.json();
      if (next.form !== report.form || next.freshness.length !== report.freshness.length) {
        location.reload();
        return;
      }
      report = next;
      buildFilters();
      showFreshness();
      showAll();
    });
  }
})();
