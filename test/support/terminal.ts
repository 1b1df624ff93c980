/**
 * A shell command in a pseudo terminal, by util-linux' `script`. What it shows goes to stdout;
 * SIGINT is somebody who presses Ctrl-C, SIGQUIT Ctrl-\ and SIGTSTP Ctrl-Z.
 */

import { spawn } from 'node:child_process';

const [, , command = ''] = process.argv;
// The shell must live on to tell the exit code.
const child = spawn('script', ['-qfc', `trap : INT QUIT; ${command}`, '/dev/null'], {
  stdio: ['pipe', 'inherit', 'inherit'],
});
const KEYS = { SIGINT: '\x03', SIGQUIT: '\x1c', SIGTSTP: '\x1a' };
for (const [signal, key] of Object.entries(KEYS)) {
  process.on(signal, () => void child.stdin.write(key));
}
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.on('exit', (code) => process.exit(code ?? 1));
