/** Gives every block of code a button that copies it. */

/** @param {HTMLElement} block */
export function addCopyButton(block) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    const text = block.querySelector('code')?.textContent ?? '';
    button.textContent = (await copyText(text, block)) ? 'Copied' : 'Press Ctrl+C';
    setTimeout(() => {
      button.textContent = 'Copy';
    }, 2000);
  });
  block.append(button);
}

/**
 * Pages that came over plain HTTP have no clipboard: then the text is selected for the person to copy.
 * @param {string} text @param {HTMLElement} block
 */
async function copyText(text, block) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const code = block.querySelector('code');
    if (code !== null) getSelection()?.selectAllChildren(code);
    return false;
  }
}

for (const block of document.querySelectorAll('[data-copy]')) {
  if (block instanceof HTMLElement) addCopyButton(block);
}
