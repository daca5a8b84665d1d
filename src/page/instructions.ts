import { type Html, html } from './html.js';

interface Block {
  readonly kind: 'text' | 'code';
  text: string;
}

interface Client {
  readonly name: string;
  readonly blocks: readonly Readonly<Block>[];
}

/**
 * The commands of the trust bundle's README as the page shows them: the same text, so that what is tested there is
 * what is copied here. Its Markdown is headings, paragraphs and indented code; the introduction, which is about
 * unpacking the bundle, is left out.
 */
export function instructionsOf(markdown: string): readonly Client[] {
  const [, ...sections] = markdown.split(/^## /m);
  return sections.map((section) => {
    const [name = '', ...lines] = section.trimEnd().split('\n');
    return { name: name.trim(), blocks: blocksOf(lines) };
  });
}

function blocksOf(lines: readonly string[]): Block[] {
  const blocks: Block[] = [];
  let blanks = 0;
  for (const line of lines) {
    if (line.trim() === '') {
      blanks += 1;
      continue;
    }
    const kind = line.startsWith('    ') ? 'code' : 'text';
    const text = kind === 'code' ? line.slice(4) : line;
    const last = blocks.at(-1);
    // An empty line ends a paragraph, and belongs to code that goes on after it.
    if (last?.kind === kind && (kind === 'code' || blanks === 0)) last.text += `${'\n'.repeat(blanks + 1)}${text}`;
    else blocks.push({ kind, text });
    blanks = 0;
  }
  return blocks;
}

/** One closed part for each client, the first open. */
export function instructionsHtml(clients: readonly Client[]): readonly Html[] {
  return clients.map(
    ({ name, blocks }, i) => html`<details class="client" name="client"${i === 0 ? html` open` : undefined}>
<summary>${name}</summary>
${blocks.map(({ kind, text }) => (kind === 'code' ? codeBlock(text) : html`<p>${withFlags(text)}</p>`))}
</details>
`,
  );
}

/** A flag in a sentence is code, and does not break after its dashes. */
function withFlags(text: string): readonly Html[] {
  return text
    .split(/(--[a-z][a-z-]*)/)
    .map((part, i) => (i % 2 === 1 ? html`<code class="nobreak">${part}</code>` : html`${part}`));
}

/** A block of code to copy; the button is added by script, because without script it could do nothing. */
export function codeBlock(code: string): Html {
  return html`<div class="code" data-copy><pre tabindex="0"><code>${code}</code></pre></div>
`;
}
