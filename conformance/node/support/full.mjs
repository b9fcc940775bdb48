// Takes the last room of a volume, as another program on the machine would.

import { closeSync, openSync, writeSync } from 'node:fs';

export function fill(path) {
  const file = openSync(path, 'w');
  try {
    for (const size of [1 << 20, 4_096]) {
      const block = Buffer.alloc(size);
      while (written(file, block) === size);
    }
  } finally {
    closeSync(file);
  }
}

/** How much of it there was room for. */
function written(file, block) {
  try {
    return writeSync(file, block);
  } catch (error) {
    if (error.code === 'ENOSPC') return 0;
    throw error;
  }
}
