/** What tests ask inside the browser: each is run there, so it may use nothing but what it is given. */

export const copyLabel = () => document.querySelector('.copy')?.textContent;
export const clipboard = () => navigator.clipboard.readText();
export const query = () => ({ q: document.querySelector('#q').value, by: document.querySelector('#by').value });
export const overflow = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;

/** The name of what has the focus, and whether that can be seen. */
export const focus = () => {
  const at = document.activeElement;
  return {
    name: (at.id || at.textContent).trim(),
    isSkip: at.className === 'skip',
    outline: getComputedStyle(at).outlineStyle,
  };
};

/** What an attack would have left in the page. */
export const damage = () => ({
  attacked: 'attacked' in globalThis,
  strange: document.querySelectorAll('main img, main script, main iframe, main object, main style').length,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
});

export const linkOrigins = () => [
  ...new Set([...document.querySelectorAll('a')].map((link) => new URL(link.href).origin)),
];

/** Tries what the policy forbids. */
export const tryInjection = () => {
  const script = document.createElement('script');
  let refused = 0;
  for (const inject of [
    () => script.append('globalThis.attacked = 1'),
    () => {
      script.text = 'globalThis.attacked = 1';
    },
    () => {
      document.body.innerHTML = '<p>replaced</p>';
    },
  ]) {
    try {
      inject();
    } catch {
      refused += 1;
    }
  }
  document.body.append(script);
  return { attacked: 'attacked' in globalThis, refused };
};

/** Texts whose contrast with what is behind them is below 4.5, the AA of WCAG 2.2 (Section 1.4.3). */
export const lowContrast = () => {
  const parts = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      const c = value / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    if (element === null) throw new Error('the page has no background');
    const found = parts(getComputedStyle(element).backgroundColor);
    return found.length === 4 && found[3] === 0 ? ground(element.parentElement) : found;
  };
  const hasText = (element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== '');
  return [...document.querySelectorAll('body *')]
    .filter((e) => hasText(e) && e.tagName !== 'NOSCRIPT')
    .flatMap((element) => {
      const [a, b] = [light(parts(getComputedStyle(element).color)), light(ground(element))];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return ratio < 4.5 ? [`${element.tagName} ${element.className} ${ratio.toFixed(2)}`] : [];
    });
};
