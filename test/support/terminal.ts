/**
 * A shell command in a pseudo terminal, by util-linux' `script`. What it shows goes to stdout;
 * SIGINT is somebody who presses Ctrl-C.
 */

import { spawn } from 'node:child_process';

const [, , command = ''] = process.argv;
// The shell must live on to tell the exit code.
const child = spawn('script', ['-qfc', `trap : INT; ${command}`, '/dev/null'], {
  stdio: ['pipe', 'inherit', 'inherit'],
});
process.on('SIGINT', () => void child.stdin.write('\x03'));
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.on('exit', (code) => process.exit(code ?? 1));
