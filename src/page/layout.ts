import { type Html, html } from './html.js';

export interface Document {
  readonly title: string;
  /** Which entry of the navigation it is. */
  readonly place: 'overview' | 'explore';
  readonly main: Html;
  readonly scripts: readonly string[];
  readonly publicUrl: string;
  readonly version: string;
}

/** A whole page. Every address in it is relative, so that it works below any prefix a proxy gives it. */
export function documentOf({ title, place, main, scripts, publicUrl, version }: Document): string {
  const current = (name: Document['place']) => (place === name ? html` aria-current="page"` : undefined);
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<link rel="icon" href="page/mayfly.svg" type="image/svg+xml">
<link rel="stylesheet" href="page/page.css">
${scripts.map((name) => html`<script type="module" src="page/${name}"></script>\n`)}</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<div class="wide">
<a class="brand" href="./"><img src="page/mayfly.svg" alt="" width="28" height="28"> Mayfly</a>
<span class="where">${new URL(publicUrl).host}</span>
<nav aria-label="Pages"><a href="./"${current('overview')}>Overview</a><a href="explore"${current('explore')}>Log explorer</a></nav>
</div>
</header>
<main id="main" class="wide" tabindex="-1">
${main}
</main>
<footer class="wide">
<p>Mayfly ${version}. Everything here is read only, and nothing is loaded from anywhere else.</p>
</footer>
</body>
</html>
`.toString();
}
